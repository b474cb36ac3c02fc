"""All that can happen to teams of a cluster, while an aggregator looks or not, and what its ledger must say of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.cluster.aggregating import Ledger, Life
from tests.cluster.control_plane import ControlPlane
from tests.cluster.team import Span, Team, now_ms
from tests.programs import wait_for

RECOVERS_WITHIN_S = 120
# The API server writes its times, and that of its answers, in whole seconds: no clock is put right further than that.
SLACK_MS = 2_000


class Upheaval:
    """Four teams, then five: one stays as it is, one changes in every way, one goes, one goes and is made anew."""

    def __init__(self, plane: ControlPlane, suffix: str) -> None:
        self._plane = plane
        self.steady, self.moving, self._gone, self._first = (
            Team(plane, f"{name}-{suffix}", "cc-1") for name in ("steady", "moving", "gone", "anew")
        )
        self._late_name = f"late-{suffix}"
        wait_counted(self.steady, self.moving, self._gone, self._first)
        self._stays = self.steady.hold("stays", 2)
        self._freed = self.moving.hold("freed", 1)
        self._replaced = self.moving.hold("replaced", 1)
        self._with_it = self._gone.hold("with-it", 1)

    def wait_known(self, kept: Ledger) -> None:
        """What was there at the beginning is known."""
        for team in (self.steady, self.moving, self._gone, self._first):
            wait_owners(kept, team, ["cc-1"])
        for team, name in ((self.steady, "stays"), *self._ending()):
            wait_lives(kept, team, name, 1)

    def happen(self) -> None:
        self._moved_ms = self.moving.label("cc-2")
        self.moving.allow(16)
        self._freed_at = self.moving.free("freed")
        self._replaced_at = self.moving.free("replaced")
        self._replacing = self.moving.hold("replaced", 3)
        began_ms = now_ms()
        self._gone.begin_to_go()
        self._first.begin_to_go()
        wait_for("both namespaces gone", lambda: self._gone.is_gone() and self._first.is_gone())
        self._went_at = (began_ms, now_ms())
        self._second = Team(self._plane, self._first.name, "cc-1")
        self._late = Team(self._plane, self._late_name, "cc-3")
        wait_counted(self._second, self._late)
        self._new = self._late.hold("new", 8)
        self.happened_ms = now_ms()

    def wait_seen(self, kept: Ledger) -> None:
        """All of it is in the ledger, in whatever way."""
        wait_owners(kept, self.moving, ["cc-1", "cc-2"])
        wait_owners(kept, self._first, ["cc-1", "cc-1"])
        wait_owners(kept, self._late, ["cc-3"])
        _wait("its end", lambda: kept.versions(self._gone.name)[-1].until_ms, lambda: kept.versions(self._gone.name))
        wait_lives(kept, self._late, "new", 1)
        wait_lives(kept, self.moving, "replaced", 2)
        for team, name in self._ending():
            wait_ended(kept, team, name)

    def _ending(self) -> tuple[tuple[Team, str], ...]:
        """Pods that go."""
        return (self.moving, "freed"), (self.moving, "replaced"), (self._gone, "with-it")

    def check(self, kept: Ledger, noticed_ms: int) -> None:
        """Nothing is lost, nothing is invented, all is dated as the API server dates it.

        noticed_ms: until when all had been noticed; what no object says must lie between its happening and that.
        """
        self._check_owners(kept, noticed_ms)
        self._check_pods(kept, noticed_ms)

    def _check_owners(self, kept: Ledger, noticed_ms: int) -> None:
        for team in (self.steady, self._late):
            (only,) = kept.versions(team.name)
            assert (only.uid, only.from_ms, only.until_ms) == (team.uid, team.created_ms, None)
        first, second = kept.versions(self.moving.name)
        assert (first.from_ms, first.until_ms) == (self.moving.created_ms, self._moved_ms)
        assert (second.uid, second.from_ms, second.until_ms) == (self.moving.uid, self._moved_ms, None)
        (only,) = kept.versions(self._gone.name)
        assert (only.uid, only.from_ms) == (self._gone.uid, self._gone.created_ms)
        assert self._went_at[0] - SLACK_MS <= _known(only.until_ms) <= noticed_ms + SLACK_MS
        # Another namespace of the same name, though both have the same owner: one ends, the other begins.
        before, after = kept.versions(self._first.name)
        assert (before.uid, before.from_ms) == (self._first.uid, self._first.created_ms)
        assert before.from_ms < _known(before.until_ms) <= self._second.created_ms + SLACK_MS
        assert (after.uid, after.until_ms) == (self._second.uid, None)
        assert after.from_ms == max(self._second.created_ms, _known(before.until_ms))

    def _check_pods(self, kept: Ledger, noticed_ms: int) -> None:
        moving = self.moving.name
        for holder, lives in (
            (self._stays, kept.lives(self.steady.name, "stays")),
            (self._new, kept.lives(self._late.name, "new")),
            (self._replacing, kept.lives(moving, "replaced")[1:]),
        ):
            (life,) = lives
            assert (life.uid, life.bound_ms, life.ended_ms) == (holder.uid, holder.bound_ms, None)
        (freed,) = kept.lives(moving, "freed")
        assert (freed.uid, freed.bound_ms) == (self._freed.uid, self._freed.bound_ms)
        assert_ended(freed, self._freed_at, noticed_ms)
        replaced = kept.lives(moving, "replaced")[0]
        assert (replaced.uid, replaced.bound_ms) == (self._replaced.uid, self._replaced.bound_ms)
        assert_ended(replaced, self._replaced_at, noticed_ms)
        (with_it,) = kept.lives(self._gone.name, "with-it")
        assert (with_it.uid, with_it.bound_ms) == (self._with_it.uid, self._with_it.bound_ms)
        assert_ended(with_it, self._went_at, noticed_ms)


def assert_ended(life: Life, at: Span, noticed_ms: int) -> None:
    """It is not said to have lived when it was gone, nor to have been gone when it lived."""
    assert _known(life.alive_ms) <= at[1] + SLACK_MS
    assert at[0] - SLACK_MS <= _known(life.ended_ms) <= noticed_ms + SLACK_MS


def wait_counted(*teams: Team) -> None:
    wait_for("every quota's status", lambda: all(team.is_counted() for team in teams))


def wait_owners(kept: Ledger, team: Team, cost_centers: list[str]) -> None:
    _wait(
        f"{team.name} owned by {cost_centers}",
        lambda: kept.costs(team.name) == cost_centers,
        lambda: kept.versions(team.name),
    )


def wait_lives(kept: Ledger, team: Team, name: str, count: int) -> None:
    _wait(
        f"{count} pods {team.name}/{name}",
        lambda: len(kept.lives(team.name, name)) == count,
        lambda: kept.lives(team.name, name),
    )


def wait_ended(kept: Ledger, team: Team, name: str) -> None:
    _wait(
        f"the end of {team.name}/{name}",
        lambda: kept.lives(team.name, name)[0].ended_ms,
        lambda: kept.lives(team.name, name),
    )


def _wait(what: str, check: Callable[[], object], state: Callable[[], Any]) -> None:
    """Says how things stand where it gives up."""

    def slowly() -> object:
        if not (done := check()):
            time.sleep(0.3)
        return done

    try:
        wait_for(what, slowly, RECOVERS_WITHIN_S)
    except AssertionError as error:
        raise AssertionError(f"{error}: {state()}") from None


def _known(at_ms: int | None) -> int:
    assert at_ms is not None
    return at_ms
