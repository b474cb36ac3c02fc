"""What every trial is, and what each is held against: the witness, and statements that are of the same lines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.proof.comparison.comparison import compare
from tests.proof.comparison.strays import Stray
from tests.proof.replay.heard_witness import testify
from tests.proof.replay.laws import unlike_statement
from tests.proof.replay.recording import Recording
from tests.proof.replay.replay import Run

Trial = Callable[[Recording, Path], Coroutine[Any, Any, list[str]]]
HOUR_S = 3600.0


def unlike_statements(run: Run, months: Iterable[str]) -> Iterator[str]:
    for month in months:
        yield from unlike_statement(run.statement(month), run.export(month, provisional=False))


def unlike_witness(
    recording: Recording, text: str, strays: Mapping[str, Stray] | None = None, *, but: frozenset[str] = frozenset()
) -> Iterator[str]:
    found = compare(testify(recording), text, strays).differences
    return (f"by the witness: {each}" for each in found if each.kind not in but)


def months_of(recording: Recording, timezone: str) -> list[str]:
    zone = ZoneInfo(timezone)
    ends = (recording.began_ms, recording.ended_ms)
    return sorted({f"{datetime.fromtimestamp(at_ms / 1000, zone):%Y-%m}" for at_ms in ends})


def instant_of(recording: Recording, part: float) -> int:
    return recording.began_ms + round((recording.ended_ms - recording.began_ms) * part)


def unix_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
