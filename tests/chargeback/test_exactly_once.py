"""Law 2: any push may be lost, repeated, reordered or late; the ledger is the same."""

from __future__ import annotations

import random
from pathlib import Path

from chargeback.core.hours import HOUR_MS
from chargeback.reports import month_csv
from exporter import wire
from tests.chargeback.api.serving import Server, serving
from tests.chargeback.store.bodies import HOUR, body, gpu, holding

HOURS = 10
MONTHS = ("2026-09", "2026-10", "2026-11")


def pushes() -> list[wire.NodeHour]:
    """Two nodes, ten hours, each hour pushed three times as it grows; on n2 a second instance takes over half-way."""
    sent: list[wire.NodeHour] = []
    for number in range(HOURS):
        for node in ("n1", "n2"):
            for instance, started, seen_from in (("a", 1, 0), ("b", 2, 1_800_000))[: 1 + (node == "n2")]:
                for part, through in enumerate((2_000_000, 3_000_000, HOUR_MS), start=1):
                    sent.append(
                        body(
                            node,
                            hour=HOUR + number,
                            instance=instance,
                            started=started,
                            seq=10 * number + part,
                            through=through,
                            final=through == HOUR_MS,
                            gpus=[gpu(f"GPU-{node}", observed=[(seen_from, through)])],
                            holdings=[
                                holding(
                                    f"GPU-{node}", start=seen_from + 20_000 * number, end=through, pod=f"p{number}"
                                )
                            ],
                        )
                    )
    return sent


async def csv_of(server: Server) -> bytes:
    await server.close_hours()
    return b"".join(piece for month in MONTHS for piece in month_csv(server.database, month))


async def test_pushes_twice_shuffled_and_every_third_late(tmp_path: Path) -> None:
    """Byte for byte the same CSV as when each came once and in order."""
    now_ms = (HOUR + HOURS) * HOUR_MS + 1000
    (tmp_path / "once").mkdir()
    (tmp_path / "again").mkdir()
    async with serving(tmp_path / "once", now_ms, grace="0s") as server:
        for sent in pushes():
            assert (await server.put(sent)).status == 200
        expected = await csv_of(server)
    async with serving(tmp_path / "again", now_ms, grace="0s") as server:
        chance = random.Random(7)
        twice = pushes() * 2
        chance.shuffle(twice)
        late = [sent for number, sent in enumerate(twice) if number % 3 == 0]
        for number, sent in enumerate(sent for number, sent in enumerate(twice) if number % 3):
            assert (await server.put(sent)).status == 200
            if number % 10 == 0:
                await server.close_hours()  # rated too early, and again when the rest has come
        for sent in late:
            assert (await server.put(sent)).status == 200
        assert await csv_of(server) == expected
    assert expected.count(b"\r\n") > 4
    assert b"platform:gap" not in expected  # the last push counted: the others end before the hour
