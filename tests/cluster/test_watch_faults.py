"""What breaks under the aggregator's watch on a real API server: tables recover, no change is lost, none is invented.

Every namespace's history is read from the ledger's database, quotas from the page. Times are the API server's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chargeback.cluster.api import ClusterApi, Expired, find_cluster
from chargeback.cluster.kind import Kind
from chargeback.cluster.objects import KubernetesObject
from tests.cluster.aggregating import CLUSTER, Ledger, Running, aggregating, ledger
from tests.cluster.control_plane import (
    AGGREGATOR_TOKEN,
    AGGREGATOR_USER,
    ControlPlane,
    Refused,
    apply_shipped_rights,
    control_plane,
)
from tests.cluster.quota_page import differences, samples
from tests.cluster.relay import relay
from tests.cluster.team import KEY, NAMESPACES, Team, now_ms
from tests.programs import running, wait_for

RECOVERS_WITHIN_S = 120
FIVE_MINUTES_MS = 300_000
SECOND_MS = 1000
# By a clock in a hurry. Just started, an API server says 403 for a moment: that is no reason to wait for minutes.
FOLLOWED_AGAIN_WITHIN_MS = 20_000
NOTICED_WITHIN_MS = 10_000  # of what happens under its eyes, on a busy machine


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("faults")) as plane:
        apply_shipped_rights(plane)
        yield plane


def test_a_killed_api_server(plane: ControlPlane, tmp_path: Path) -> None:
    """While it is away the tables stay as they were; once it is back, changes are seen, and nothing else changed."""
    steady, moving = Team(plane, "kill-steady", "cc-1"), Team(plane, "kill-moving", "cc-1")
    with aggregating(plane, tmp_path) as aggregator:
        wait_known(plane, aggregator, steady, moving)
        plane.stop_api_server(kill=True)
        try:
            time.sleep(5)
            assert aggregator.costs(steady.name) == ["cc-1"]
            assert shown_hard(aggregator, steady) == 8
        finally:
            plane.start_api_server()
        back_ms = now_ms()
        moved_ms = moving.label("cc-2")
        moving.allow(16)
        moving.hold("a", 3)
        wait_equal(plane, aggregator)
        wait_owners(aggregator, moving, ["cc-1", "cc-2"])
        assert now_ms() - back_ms < FOLLOWED_AGAIN_WITHIN_MS
        assert_moved(aggregator, moving, moved_ms)
        assert_untouched(aggregator, steady)


@pytest.mark.parametrize("restart", [False, True], ids=["compacted", "compacted and restarted"])
def test_a_compacted_history(plane: ControlPlane, tmp_path: Path, restart: bool) -> None:
    """Cut off while everything changes; what is then asked for is forgotten (410), so all is listed again."""
    suffix = "restart" if restart else "compact"
    steady, moving, gone, anew = (
        Team(plane, f"{name}-{suffix}", "cc-1") for name in ("steady", "moving", "gone", "anew")
    )
    for team in (steady, moving, gone, anew):
        team.hold("a", 2)
    with ExitStack() as stack:
        wire = stack.enter_context(relay(plane.url))
        aggregator = stack.enter_context(aggregating(_through(plane, wire.url, tmp_path), tmp_path))
        wait_known(plane, aggregator, steady, moving, gone, anew)
        before = plane.call("GET", f"{NAMESPACES}?limit=1")["metadata"]["resourceVersion"]
        wire.cut()
        moved_ms = moving.label("cc-2")
        moving.allow(4)
        moving.free("a")
        went = gone.delete()
        anew.delete()
        second = Team(plane, anew.name, "cc-1")
        late = Team(plane, f"late-{suffix}", "cc-3")
        plane.compact()
        if restart:  # an API server that lives on remembers more than etcd
            plane.stop_api_server(kill=True)
            plane.start_api_server()
            assert is_expired(plane, before)
        wire.mend()
        wait_equal(plane, aggregator)
        wait_owners(aggregator, moving, ["cc-1", "cc-2"])
        wait_owners(aggregator, late, ["cc-3"])
        wait_for("the end of the one that went", lambda: aggregator.versions(gone.name)[-1].until_ms is not None)
        assert_moved(aggregator, moving, moved_ms)
        assert_untouched(aggregator, steady)
        assert_untouched(aggregator, late)
        assert_ended(aggregator, gone, (went[0], now_ms()))  # nobody saw when; not before it was there
        assert_made_anew(aggregator, anew, second)


def test_a_dead_peer(plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that stay open and say nothing any more are given up, and what was missed is taken in."""
    monkeypatch.setattr("chargeback.cluster.api.TIMEOUT_S", 3)
    monkeypatch.setattr("chargeback.cluster.api.WATCH_SILENT_S", 3)
    steady, moving = Team(plane, "dead-steady", "cc-1"), Team(plane, "dead-moving", "cc-1")
    with ExitStack() as stack:
        wire = stack.enter_context(relay(plane.url))
        aggregator = stack.enter_context(aggregating(_through(plane, wire.url, tmp_path), tmp_path))
        wait_known(plane, aggregator, steady, moving)
        assert wire.hang() > 0
        moved_ms = moving.label("cc-2")
        moving.allow(3)
        moving.hold("a", 3)
        wait_equal(plane, aggregator)
        wait_owners(aggregator, moving, ["cc-1", "cc-2"])
        assert_moved(aggregator, moving, moved_ms)
        assert_untouched(aggregator, steady)
        wire.cut()  # nobody else ends what hangs


async def test_a_list_that_expires_between_its_pages(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no list at all, and says so; the next one is whole."""
    monkeypatch.setattr("chargeback.cluster.api.PAGE_ITEMS", 1)
    fresh = iter((True,))

    def read(found: KubernetesObject) -> str:
        if next(fresh, False):  # at the first page; what the API server still remembers would serve the others
            plane.merge(f"{NAMESPACES}/default", {"metadata": {"labels": {"touched": "yes"}}})
            plane.compact()
            plane.stop_api_server(kill=True)
            plane.start_api_server()
            wait_for("the rights known again", lambda: may_list_namespaces(plane))
        return found.metadata.name

    kind = Kind(name="namespaces", path=NAMESPACES, of=KubernetesObject, read=read)
    configuration = await find_cluster(plane.kubeconfig(AGGREGATOR_TOKEN))
    assert configuration is not None
    async with ClusterApi(configuration) as api:
        with pytest.raises(Expired):
            await api.list_all(kind)
        names = sorted((await api.list_all(kind)).items.values())
    assert names == sorted(each["metadata"]["name"] for each in plane.call("GET", NAMESPACES)["items"])


@pytest.mark.parametrize("ahead_ms", [FIVE_MINUTES_MS, -FIVE_MINUTES_MS], ids=["ahead", "behind"])
def test_a_wrong_clock(plane: ControlPlane, tmp_path: Path, ahead_ms: int) -> None:
    """Five minutes off: every version is dated by the API server's time, quotas are as the controller has them."""
    suffix = "ahead" if ahead_ms > 0 else "behind"
    steady, moving, gone, anew = (
        Team(plane, f"{name}-{suffix}", "cc-1") for name in ("steady", "moving", "gone", "anew")
    )
    with aggregating(plane, tmp_path, ahead_ms=ahead_ms) as aggregator:
        wait_known(plane, aggregator, steady, moving, gone, anew)
        moved_ms = moving.label("cc-2")
        went = gone.delete()
        anew.delete()
        second = Team(plane, anew.name, "cc-2")
        steady.hold("a", 5)
        wait_equal(plane, aggregator)
        wait_owners(aggregator, moving, ["cc-1", "cc-2"])
        wait_owners(aggregator, anew, ["cc-1", "cc-2"])
        wait_for("the end of the one that went", lambda: aggregator.versions(gone.name)[-1].until_ms is not None)
        assert_moved(aggregator, moving, moved_ms)
        assert_untouched(aggregator, steady)
        assert_ended(aggregator, gone, (went[0], went[1] + NOTICED_WITHIN_MS))
        assert_made_anew(aggregator, anew, second)


def test_a_killed_aggregator(plane: ControlPlane, tmp_path: Path) -> None:
    """What changed while it was away is in its history when it is back, each change once."""
    steady, moving, gone, anew = (
        Team(plane, f"{name}-away", "cc-1") for name in ("steady", "moving", "gone", "anew")
    )
    moving.hold("a", 2)
    command = (
        *("serve", "--data", str(tmp_path), "--cluster", CLUSTER),
        *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN))),
    )
    with ledger(tmp_path) as kept:
        with running("chargeback.cli.main", *command, log=tmp_path / "first.log") as server:
            wait_for("the owners", lambda: all(kept.costs(team.name) for team in (steady, moving, gone, anew)))
            server.kill()
        moved_ms = moving.label("cc-2")
        moving.free("a")
        moving.hold("b", 7)
        moving.allow(7)
        went = gone.delete()
        anew.delete()
        second = Team(plane, anew.name, "cc-1")
        late = Team(plane, "late-away", "cc-3")
        with running("chargeback.cli.main", *command, log=tmp_path / "second.log") as server:
            wait_for(
                "the controller's quotas on the page",
                lambda: not differences(plane, server.get("/metrics")),
                RECOVERS_WITHIN_S,
            )
            wait_owners(kept, moving, ["cc-1", "cc-2"])
            wait_owners(kept, late, ["cc-3"])
            wait_for("the end of the one that went", lambda: kept.versions(gone.name)[-1].until_ms is not None)
        assert_moved(kept, moving, moved_ms)
        assert_untouched(kept, steady)
        assert_untouched(kept, late)
        assert_ended(kept, gone, (went[0], now_ms()))
        assert_made_anew(kept, anew, second)


def wait_known(plane: ControlPlane, aggregator: Running, *teams: Team) -> None:
    for team in teams:
        wait_owners(aggregator, team, ["cc-1"])
    wait_equal(plane, aggregator)


def wait_owners(kept: Ledger, team: Team, cost_centers: list[str]) -> None:
    _wait(
        f"{team.name} owned by {cost_centers}",
        lambda: kept.costs(team.name) == cost_centers,
        lambda: kept.versions(team.name),
    )


def wait_equal(plane: ControlPlane, aggregator: Running) -> None:
    _wait(
        "the controller's quotas on the page",
        lambda: not differences(plane, aggregator.page()),
        lambda: differences(plane, aggregator.page()),
    )


def shown_hard(aggregator: Running, team: Team) -> Decimal | None:
    return samples(aggregator.page(), "chargeback_quota_hard").get((team.name, "gpus", KEY))


def assert_untouched(kept: Ledger, team: Team) -> None:
    """One version since its creation: nothing was invented."""
    (only,) = kept.versions(team.name)
    assert (only.uid, only.from_ms, only.until_ms) == (team.uid, team.created_ms, None)


def assert_moved(kept: Ledger, team: Team, moved_ms: int) -> None:
    first, second = kept.versions(team.name)
    assert (first.from_ms, first.until_ms) == (team.created_ms, moved_ms)
    assert (second.uid, second.from_ms, second.until_ms) == (team.uid, moved_ms, None)


def assert_ended(kept: Ledger, team: Team, between_ms: tuple[int, int]) -> None:
    (only,) = kept.versions(team.name)
    assert only.from_ms == team.created_ms
    assert only.until_ms is not None
    assert between_ms[0] <= only.until_ms <= between_ms[1]


def assert_made_anew(kept: Ledger, first: Team, second: Team) -> None:
    """A namespace with the same name is another one, also where both have the same owner: one ends, the other begins.

    The API server writes its times, and that of its answers, in whole seconds: a wrong clock is put right to those.
    """
    before, after = kept.versions(first.name)
    assert (before.uid, before.from_ms) == (first.uid, first.created_ms)
    assert before.until_ms is not None
    assert before.from_ms < before.until_ms <= second.created_ms + 2 * SECOND_MS
    assert (after.uid, after.until_ms) == (second.uid, None)
    assert after.from_ms == max(second.created_ms, before.until_ms)


def is_expired(plane: ControlPlane, version: str) -> bool:
    """Whether a watch from this version on is refused, as the aggregator's is."""
    try:
        said = plane.call("GET", f"{NAMESPACES}?watch=1&timeoutSeconds=1&resourceVersion={version}")
    except Refused as error:
        return error.status == 410
    except ValueError:  # no event, or several: it was not refused
        return False
    return bool(said["type"] == "ERROR" and said["object"]["code"] == 410)


def may_list_namespaces(plane: ControlPlane) -> bool:
    """Whether the API server grants what it was told to: just started it says 403 for a moment."""
    asked = {"user": AGGREGATOR_USER, "resourceAttributes": {"verb": "list", "resource": "namespaces"}}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": asked}
    answer = plane.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def _wait(what: str, check: Callable[[], bool], state: Callable[[], Any]) -> None:
    """Says how things stand where it gives up."""

    def slowly() -> bool:
        if not (done := check()):
            time.sleep(0.3)
        return done

    try:
        wait_for(what, slowly, RECOVERS_WITHIN_S)
    except AssertionError as error:
        raise AssertionError(f"{error}: {state()}") from None


def _through(plane: ControlPlane, url: str, folder: Path) -> ControlPlane:
    """The same API server by another way, with kubeconfigs of its own."""
    return replace(plane, url=url, folder=folder)
