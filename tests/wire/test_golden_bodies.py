"""The contract, as bytes: what the agent writes and the aggregator reads. UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from chargeback.bodies import read_body
from exporter import wire
from exporter.meter import Meter, hour_name
from exporter.node_hour import node_hour
from exporter.sight import Sight
from tests.exporter.builders import HOUR_MS, NOON_MS, card, holding, instance, sight

HERE = Path(__file__).parent
BEAT_MS = 600_000

SLICES = (instance("MIG-a", ordinal=0), instance("MIG-b", ordinal=1))
SIGHTS: dict[str, Sequence[Sight]] = {
    # Held for half an hour, with usage; then idle; the last beat finds the card silent.
    "whole": [
        *[
            sight(
                card(energy_mj=n * 180_000_001),
                holdings=[holding(pod_uid="uid-1", busy_ppm=250_000, memory_bytes=2**30)],
            )
            for n in range(3)
        ],
        *[sight(card(energy_mj=540_000_003 + n * 42_000_000)) for n in range(2)],
        sight(card(healthy=False)),
    ],
    "mig": [
        *[sight(card(mig=True, instances=SLICES), holdings=[holding(device="MIG-a", evidence="mig")])] * 4,
        *[sight(card(mig=True, instances=SLICES[:1]))] * 2,
    ],
    "shared": [
        sight(
            card(shares=4),
            holdings=[
                holding("two", shares=(0, 2), evidence="equal"),
                holding("one", shares=(3,), evidence="equal"),
            ],
        )
    ]
    * 6,
}


def metered(sights: Sequence[Sight]) -> wire.NodeHour:
    """The finished hour of a meter that saw these, ten minutes each."""
    meter = Meter(beat_ms=BEAT_MS)
    finished = []
    for number, seen in enumerate([*sights, sights[-1]]):
        finished += meter.advance(seen, NOON_MS + number * BEAT_MS)
    (account,) = finished
    return node_hour(
        account,
        cluster="lab",
        node="n1",
        instance="golden",
        started_ms=NOON_MS,
        seq=7,
        hour=hour_name(account.start_ms),
        final=account.through == HOUR_MS,
    )


@pytest.mark.parametrize("name", SIGHTS)
def test_the_agent_writes_the_golden_body(name: str) -> None:
    written = json.dumps(json.loads(wire.encode(metered(SIGHTS[name]))), indent=1) + "\n"
    path = HERE / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(written)
    assert path.read_text() == written


@pytest.mark.parametrize("name", SIGHTS)
def test_the_aggregator_reads_the_golden_body(name: str) -> None:
    """Every field means the same on both sides; nothing of it is refused."""
    data = (HERE / f"{name}.json").read_bytes()
    read, sent = read_body(data), msgspec.json.decode(data, type=wire.NodeHour)
    assert (read.cluster, read.node, read.instance, read.seq, read.final) == ("lab", "n1", "golden", 7, True)
    assert [(h.device, list(h.shares), h.start, h.end, h.pod) for h in read.holdings] == [
        (h.device, h.shares, h.start, h.end, h.pod) for h in sent.holdings
    ]
    assert [(g.uuid, list(g.observed), list(g.unhealthy), len(g.layouts)) for g in read.gpus] == [
        (g.uuid, g.observed, g.unhealthy, len(g.layouts)) for g in sent.gpus
    ]
    assert [(i.uuid, i.c, i.g, i.m, i.shares) for i in read.instances] == [
        (i.uuid, i.c, i.g, i.m, i.shares) for i in sent.instances
    ]
