"""Use without allocation: what an agent says of a stranger is held against what was told of him."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proof.comparison.minute import SLICE, TOLD, WHOLE, at, compared, good
from tests.proof.comparison.strays import MIB, Stray, strays_of, strays_since
from tests.proof.witness.testimony import Load

LATER = (
    Load(at_ms=at(20), device=WHOLE, pid=9, sm_percent=50, memory_mib=100),
    Load(at_ms=at(30), device=WHOLE, pid=9, over=True),
)
BESIDE = (
    Load(at_ms=at(6), device=WHOLE, pid=9, sm_percent=50, memory_mib=100),
    Load(at_ms=at(16), device=WHOLE, pid=9, over=True),
)
TRULY = Stray(busy_ms=5_000, memory_byte_s=1_000 * MIB)


def kinds(strays: dict[str, Stray], *loads: Load) -> list[tuple[str, str]]:
    """Subjects and words of the witness, where he and the agent differ on strangers."""
    found = compared(good(), told=(*TOLD, *loads), strays=strays).differences
    return [(each.subject, each.witness) for each in found if each.kind == "stray"]


def test_who_works_alone_is_known_to_within_a_beat_at_each_end() -> None:
    assert kinds({WHOLE: TRULY}, *LATER) == []
    assert kinds({WHOLE: Stray(busy_ms=6_500, memory_byte_s=1_300 * MIB)}, *LATER) == []
    assert kinds({}) == []


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({}, "process 9 for 10000 ms, 50 %, 100 MiB"),
        ({WHOLE: Stray(busy_ms=6_501, memory_byte_s=1_000 * MIB)}, "busy for 5000 ms, give or take 1500"),
        ({WHOLE: Stray(busy_ms=None, memory_byte_s=1_000 * MIB)}, "it was alone there"),
        ({WHOLE: Stray(busy_ms=5_000, memory_byte_s=1_300 * MIB + 1)}, "memory for 1048576000 byte-seconds"),
        ({WHOLE: Stray(busy_ms=5_000, memory_byte_s=None)}, "memory for 1048576000 byte-seconds"),
    ],
)
def test_what_is_said_of_him_is_wrong(said: dict[str, Stray], wanted: str) -> None:
    ((subject, witness),) = kinds(said, *LATER)
    assert subject == WHOLE
    assert witness.startswith(wanted)


def test_beside_a_holder_who_works_nobody_can_tell_how_busy_he_was() -> None:
    assert kinds({WHOLE: Stray(busy_ms=None, memory_byte_s=1_000 * MIB)}, *BESIDE) == []
    ((_, witness),) = kinds({WHOLE: TRULY}, *BESIDE)
    assert witness == "nobody could know how busy it was: others were there for 4000 ms"


def test_under_mig_nobody_can_tell_either() -> None:
    loads = (Load(at_ms=at(20), device=SLICE, pid=9, sm_percent=50, memory_mib=100),)
    said = Stray(busy_ms=None, memory_byte_s=4_000 * MIB)
    assert kinds({SLICE: said}, *loads) == []
    assert len(kinds({SLICE: Stray(busy_ms=20_000, memory_byte_s=4_000 * MIB)}, *loads)) == 1


def test_where_nobody_was_nobody_is_reported() -> None:
    assert kinds({WHOLE: TRULY}) == [(WHOLE, "no process of the host's worked there")]


def test_accounts_of_several_hours_are_summed() -> None:
    """The host's alone, and unknown where one of them does not know."""

    def use(device: str, container: str | None, busy_ms: int | None, memory: int) -> dict[str, Any]:
        return {"device": device, "container": container, "busy_ms": busy_ms, "memory_byte_seconds": memory}

    first = {"unallocated_use": [use("a", "host", 5, 7), use("b", "host", 5, 7), use("a", "pod1", 9, 9)]}
    second = {"unallocated_use": [use("a", "host", None, 3), use("b", "host", 1, 1)]}
    now = strays_of([first, second])
    assert now == {"a": Stray(busy_ms=None, memory_byte_s=10), "b": Stray(busy_ms=6, memory_byte_s=8)}
    assert strays_since(strays_of([first]), now)["b"] == Stray(busy_ms=1, memory_byte_s=1)
    assert strays_since(now, now) == {}
