"""How one namespace's history grows, case by case; the laws are in test_owner_history_laws.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from chargeback.core.owners.history import (
    CLEARED,
    CLOCKS_DIFFER_MS,
    CORRECTION,
    Learnt,
    Version,
    correct,
    is_stale,
    learn,
    timeline,
)
from chargeback.core.owners.owners import Namespace

# A namespace made at 1,000 s, that was looked at until 9,000 s; now it is 10,000 s.
CREATED_MS, LOOKED_MS, NOW_MS = 1_000_000, 9_000_000, 10_000_000
SEEN = Namespace(name="n", uid="u1", created_ms=CREATED_MS, cost_center="a", team="t")
FIRST = Version(
    namespace="n", uid="u1", version=1, from_ms=CREATED_MS, cost_center="a", team="t", source="api", recorded_ms=1
)


def look(
    history: Sequence[Version], seen: Namespace | None, now_ms: int = NOW_MS, looked_ms: int | None = LOOKED_MS
) -> Learnt:
    return learn(history, seen, source="api", now_ms=now_ms, looked_ms=looked_ms)


def begins(
    history: Sequence[Version], seen: Namespace, now_ms: int = NOW_MS, looked_ms: int | None = LOOKED_MS
) -> int:
    added = look(history, seen, now_ms, looked_ms).added
    assert added is not None
    return added.from_ms


def correction(**changes: object) -> Version:
    made = Version(namespace="n", from_ms=5_000_000, source=CORRECTION, recorded_ms=NOW_MS, who="jo", why="late")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_label_counts_from_its_own_time_if_it_was_written_after_the_last_look() -> None:
    """What was seen at the last look stays; the API's seconds are rounded down."""
    changed = replace(SEEN, cost_center="b")
    assert begins([FIRST], replace(changed, labelled_ms=9_500_000)) == 9_500_000
    assert begins([FIRST], replace(changed, labelled_ms=LOOKED_MS - 999)) == LOOKED_MS - 999
    assert begins([FIRST], replace(changed, labelled_ms=LOOKED_MS - 1000)) == NOW_MS
    assert begins([FIRST], changed) == NOW_MS


def test_a_dimension_is_dated_as_an_owners_label_is() -> None:
    """And alone it makes a version, which has the owner as before."""
    first = replace(FIRST, dimensions=(("env", "test"),))
    seen = replace(SEEN, dimensions=(("env", "prod"),))
    assert look([first], replace(SEEN, dimensions=first.dimensions)).added is None
    assert begins([first], replace(seen, labelled_ms=9_500_000)) == 9_500_000
    assert begins([first], seen) == NOW_MS
    added = look([first], seen).added
    assert added is not None
    assert (added.cost_center, added.dimensions) == ("a", seen.dimensions)


def test_other_configured_dimensions_leave_the_past_alone() -> None:
    """Even in a file, whose labels have their own times: nothing says whether the label or the key is new."""
    first = replace(FIRST, dimensions=(("env", "test"),))

    def begins_in_file(*dimensions: tuple[str, str]) -> int:
        seen = replace(SEEN, dimensions=dimensions, labelled_ms=5_000_000)
        added = learn([first], seen, source="file", now_ms=NOW_MS, looked_ms=LOOKED_MS).added
        assert added is not None
        return added.from_ms

    assert begins_in_file(("env", "prod")) == 5_000_000
    assert begins_in_file(("app", "x"), ("env", "test")) == NOW_MS
    assert begins_in_file() == NOW_MS


def test_a_correction_keeps_the_dimensions_that_were_seen() -> None:
    first = replace(FIRST, dimensions=(("env", "test"),))
    corrected = correct([first], correction(cost_center="b"))
    assert [(each.cost_center, each.dimensions) for each in timeline([first, corrected])] == [
        ("a", first.dimensions),
        ("b", first.dimensions),
    ]


def test_a_file_is_older_than_its_reading() -> None:
    """What it says of a label's time holds, though we had read an older one since."""
    changed = replace(SEEN, cost_center="b", labelled_ms=LOOKED_MS - 5_000_000)
    added = learn([FIRST], changed, source="file", now_ms=NOW_MS, looked_ms=LOOKED_MS).added
    assert added is not None
    assert added.from_ms == LOOKED_MS - 5_000_000
    assert begins([FIRST], changed) == NOW_MS  # of the API it does not


def test_a_time_slightly_ahead_of_us_is_the_labels_own() -> None:
    """Servers of one cluster differ by seconds; what is further off is a wrong clock."""
    changed = replace(SEEN, cost_center="b")
    ahead_ms = NOW_MS + CLOCKS_DIFFER_MS
    assert begins([FIRST], replace(changed, labelled_ms=ahead_ms)) == ahead_ms
    assert begins([FIRST], replace(changed, labelled_ms=ahead_ms + 1)) == NOW_MS
    future = replace(FIRST, from_ms=ahead_ms)
    assert begins([future], replace(changed, labelled_ms=ahead_ms)) == ahead_ms + 1


def test_before_the_first_look_the_recording_is_the_last_one() -> None:
    """A ledger of the release before."""
    changed = replace(SEEN, cost_center="b", labelled_ms=9_500_000)
    assert begins([replace(FIRST, recorded_ms=9_400_000)], changed, looked_ms=None) == 9_500_000
    assert begins([replace(FIRST, recorded_ms=9_600_000)], changed, looked_ms=None) == NOW_MS


def test_what_a_rule_changes_counts_from_now() -> None:
    """However the labels beside it were written; its source is the rule."""
    ruled = replace(SEEN, cost_center="r", labelled_ms=9_500_000, rule="all", ruled=frozenset({"cost_center"}))
    added = look([FIRST], ruled).added
    assert added is not None
    assert (added.from_ms, added.source, added.cost_center) == (NOW_MS, "rule:all", "r")
    assert begins([FIRST], replace(ruled, team="other")) == 9_500_000


def test_another_uid_is_another_namespace() -> None:
    """Even with equal labels; the old one ends where the new one was created."""
    learnt = look([FIRST], replace(SEEN, uid="u2", created_ms=9_700_000))
    assert learnt.added == replace(FIRST, uid="u2", version=2, from_ms=9_700_000, recorded_ms=NOW_MS)
    assert learnt.ends == {1: 9_700_000}
    assert begins([FIRST], replace(SEEN, uid="u2", created_ms=None, labelled_ms=9_800_000)) == 9_800_000
    assert begins([FIRST], replace(SEEN, uid="u2", created_ms=None)) == NOW_MS
    assert begins([FIRST], replace(SEEN, uid="u2", created_ms=NOW_MS + CLOCKS_DIFFER_MS + 1)) == NOW_MS
    assert begins([FIRST], replace(SEEN, uid="u2", created_ms=CREATED_MS)) == CREATED_MS + 1


def test_one_that_was_gone_and_is_back_was_never_gone() -> None:
    """Its UID says so: somebody did not show it to us."""
    gone = replace(FIRST, until_ms=9_100_000)
    assert begins([gone], SEEN) == 9_100_000
    assert begins([gone], replace(SEEN, uid="u2", created_ms=9_050_000)) == 9_100_000
    assert begins([gone], replace(SEEN, uid=None, created_ms=9_200_000)) == 9_200_000
    assert look([gone], None) == Learnt()


def test_a_uid_may_be_learnt_late() -> None:
    """It is noted where it was missing, and makes nothing new."""
    nameless = replace(FIRST, uid=None)
    assert look([nameless], SEEN) == Learnt(uid=(1, "u1"))
    assert look([nameless], replace(SEEN, uid=None)) == Learnt()
    assert look([FIRST], replace(SEEN, uid=None)) == Learnt()


def test_one_that_ends_before_it_begins_holds_at_no_instant() -> None:
    """A label's time ahead of us, and the namespace gone before it."""
    future = replace(FIRST, from_ms=NOW_MS + 5)
    learnt = look([future], None)
    assert learnt.ends == {1: NOW_MS + 5}
    assert timeline([replace(future, until_ms=NOW_MS + 5)]) == []


def test_the_same_labels_do_not_undo_a_correction_and_others_do() -> None:
    """Those that are written after it."""
    corrected = [FIRST, correct([FIRST], correction(cost_center="x"))]
    assert look(corrected, SEEN, NOW_MS + 30_000, NOW_MS) == Learnt()
    written_ms = NOW_MS + 20_000
    learnt = look(corrected, replace(SEEN, cost_center="b", labelled_ms=written_ms), NOW_MS + 30_000, NOW_MS)
    assert learnt.ends == {1: written_ms, 2: written_ms}
    assert learnt.added is not None
    assert learnt.added.version == 3


def test_labels_written_before_a_correction_do_not_end_it() -> None:
    """Whoever corrected it spoke last, even where we learn of the labels later."""
    corrected = [FIRST, correct([FIRST], correction(cost_center="x"))]
    learnt = look(corrected, replace(SEEN, cost_center="b", labelled_ms=9_500_000), NOW_MS + 30_000)
    assert learnt.ends == {1: 9_500_000}


def test_a_correction_recorded_by_a_clock_ahead_of_ours_ends_with_new_labels() -> None:
    """Else they would never count."""
    corrected = [FIRST, correct([FIRST], correction(cost_center="x", recorded_ms=NOW_MS + 300_000))]
    assert look(corrected, replace(SEEN, cost_center="b")).ends == {1: NOW_MS, 2: NOW_MS}


def test_a_correction_that_is_still_to_come_keeps_its_date() -> None:
    """From next month on another team pays, whatever it is labelled until then; not so another namespace."""
    coming = correct([FIRST], correction(cost_center="x", from_ms=2 * NOW_MS))
    assert look([FIRST, coming], replace(SEEN, cost_center="b"), NOW_MS + 5).ends == {1: NOW_MS + 5}
    assert look([FIRST, coming], None, NOW_MS + 5).ends == {1: NOW_MS + 5, 2: 2 * NOW_MS}
    another = replace(SEEN, uid="u2", created_ms=NOW_MS + 5)
    assert look([FIRST, coming], another, NOW_MS + 9).ends == {1: NOW_MS + 5, 2: 2 * NOW_MS}


def test_a_correction_lies_over_what_was_seen_field_by_field() -> None:
    """The later recorded wins; cleared is what was seen; versions and reasons are told."""
    history = [FIRST]
    history.append(correct(history, correction(cost_center="x", until_ms=8_000_000)))
    history.append(correct(history, correction(team="", from_ms=6_000_000, until_ms=9_000_000)))
    history.append(correct(history, correction(source=CLEARED, from_ms=7_000_000, until_ms=7_500_000)))
    assert [(p.from_ms, p.until_ms, p.version, p.cost_center, p.team) for p in timeline(history)] == [
        (CREATED_MS, 5_000_000, 1, "a", "t"),
        (5_000_000, 6_000_000, 2, "x", "t"),
        (6_000_000, 7_000_000, 3, "x", None),
        (7_000_000, 7_500_000, 1, "a", "t"),
        (7_500_000, 8_000_000, 3, "x", None),
        (8_000_000, 9_000_000, 3, "a", None),
        (9_000_000, None, 1, "a", "t"),
    ]
    assert {(p.who, p.why, p.uid) for p in timeline(history)} == {(None, None, "u1"), ("jo", "late", "u1")}


def test_a_correction_may_say_whose_a_namespace_was_before_we_knew_it() -> None:
    """And is one piece, however many borders of others fall into it."""
    history = [FIRST, correct([FIRST], correction(cost_center="x", team="y", tier="z", from_ms=0, until_ms=500))]
    history.append(correct(history, correction(cost_center="q", from_ms=100, until_ms=200)))
    history.append(correct(history, correction(cost_center="x", team="y", tier="z", from_ms=0, until_ms=500)))
    assert [(p.from_ms, p.until_ms, p.version, p.cost_center) for p in timeline(history)] == [
        (0, 500, 4, "x"),
        (CREATED_MS, None, 1, "a"),
    ]


def test_a_correction_of_what_is_gone_wants_an_end_or_finds_it() -> None:
    """It must not wait for the next namespace of that name."""
    gone = replace(FIRST, until_ms=9_000_000)
    assert correct([gone], correction(cost_center="x")).until_ms == 9_000_000
    with pytest.raises(ValueError, match="until: missing: the namespace is not there any more"):
        correct([gone], correction(cost_center="x", from_ms=9_000_000))
    with pytest.raises(ValueError, match="until: missing"):
        correct([], correction(cost_center="x"))
    with pytest.raises(ValueError, match="until: 1970-01-01T01:23:20Z: want an instant after from"):
        correct([FIRST], correction(cost_center="x", until_ms=5_000_000))


def test_a_look_older_than_the_last_one_is_stale() -> None:
    """Another replica was faster; a clock that was put back by more is believed."""
    assert is_stale(NOW_MS, NOW_MS + 1)
    assert not is_stale(NOW_MS, NOW_MS)
    assert not is_stale(NOW_MS, None)
    assert not is_stale(NOW_MS, NOW_MS + CLOCKS_DIFFER_MS + 1)
