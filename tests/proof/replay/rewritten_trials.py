"""Trials of recordings in which something else was so as well: shares, plans, a kubelet that forgets, lost cards."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import yaml

from tests.proof.replay.recording import SECOND_MS, Recording
from tests.proof.replay.replay import replaying
from tests.proof.replay.rewritten import forgetting, guaranteeing, in_shares, losing
from tests.proof.replay.trial import instant_of, months_of, unlike_witness

# Where the kubelet forgets, and for how long.
FORGETS, FORGETS_MS = 0.5, 2_000
# Where cards answer no more, and for how long.
LOST, LOST_MS = 0.6, 8_000
# Whom how many cards are guaranteed, and in what part of a recording.
GUARANTEED, FROM, UNTIL = {"cards": ("ml", 2), "mig": ("nobody", 1)}, 0.2, 0.8


async def in_four_shares(recording: Recording, folder: Path) -> list[str]:
    """As if time-slicing offered every device in four: who held one had a quarter of it."""
    return await _reckoned(in_shares(recording, 4), folder)


async def forgotten(recording: Recording, folder: Path) -> list[str]:
    """The kubelet lists nobody for two beats in the middle: who is there again after them was there all along."""
    at_ms = instant_of(recording, FORGETS)
    return await _reckoned(forgetting(recording, at_ms, at_ms + FORGETS_MS), folder)


async def lost(recording: Recording, folder: Path) -> list[str]:
    """No card answers for some beats in the middle: who holds one holds it on, and the others are unavailable."""
    at_ms = instant_of(recording, LOST)
    return await _reckoned(losing(recording, at_ms, at_ms + LOST_MS), folder)


async def guaranteed(recording: Recording, folder: Path) -> list[str]:
    """A namespace is guaranteed cards for a while in it: what it does not use of them it pays for, at their price."""
    namespace, count = GUARANTEED[recording.head.name]
    begin_ms, end_ms = (instant_of(recording, part) // SECOND_MS * SECOND_MS for part in (FROM, UNTIL))
    plan = {"namespace": namespace, "guaranteed": count, "from": _instant(begin_ms), "until": _instant(end_ms)}
    with_plan = guaranteeing(recording, namespace, count, begin_ms, end_ms)
    return await _reckoned(with_plan, folder, plans=yaml.safe_dump({"plans": [plan]}))


async def _reckoned(recording: Recording, folder: Path, *, plans: str = "") -> list[str]:
    """Where what was rewritten is billed otherwise than the witness reckons."""
    async with replaying(recording, folder, plans=plans) as run:
        await run.play()
        await run.settle()
        text = run.export(months_of(recording, "UTC")[0])
    return list(unlike_witness(recording, text))


def _instant(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
