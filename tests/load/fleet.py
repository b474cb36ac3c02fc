"""A fleet for load: nodes of eight cards each, with holders that follow from a seed. The same seed, the same ledger.

`put_hour` stores bodies as agents send them, for closing; `put_lines_of` makes rated lines inside PostgreSQL itself,
millions of them in minutes, for what reads them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import text

from chargeback.bodies import read_body
from chargeback.core.hours import HOUR_MS, month_after
from chargeback.core.pods import Ask, Pod
from chargeback.store.database import Database
from chargeback.store.node_hours import put_body
from chargeback.store.partitions import first_hour, want_months
from chargeback.store.pods import note_pods
from chargeback.store.rollup import rebuild_marked_day
from chargeback.store.tables import lines
from exporter import wire
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, body, gpu, holding, start_ms

CARDS_A_NODE = 8
NAMESPACES = 40
# Bodies stored in one transaction.
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """nodes: how many, of eight cards each."""

    nodes: int
    seed: int = 1

    def bodies(self, hour: int, *, until: int = HOUR_MS) -> Iterator[wire.NodeHour]:
        """Every node's hour, up to then: each card is held by one pod for all of it, and measured."""
        whole = wire.Layout(start=0, end=until, mig=False, shares=1)  # as agents say of a card not in MIG mode
        for number in range(self.nodes):
            chance = random.Random(f"{self.seed}/{number}/{hour}")
            cards = [f"GPU-{number:05}-{card}" for card in range(CARDS_A_NODE)]
            yield body(
                f"node-{number:05}",
                hour,
                seq=until,
                through=until,
                final=until == HOUR_MS,
                gpus=[gpu(card, observed=[(0, until)], layouts=[whole]) for card in cards],
                holdings=[
                    holding(
                        card,
                        end=until,
                        namespace="alpha",
                        pod=f"train-{number}-{place}",
                        pod_uid=f"uid-{number}-{place}",
                        busy_ms=chance.randrange(until),
                        memory_byte_seconds=chance.randrange(80 * 10**9 * 3600),
                        energy_mj=chance.randrange(700 * 3600 * 1000),
                    )
                    for place, card in enumerate(cards)
                ],
            )

    def pods(self, bound_ms: int) -> Iterator[Pod]:
        """Those that hold the cards, as the API tells of them."""
        asks = (Ask(container="main", resource="nvidia.com/gpu", count=1),)
        for number in range(self.nodes):
            for place in range(CARDS_A_NODE):
                yield Pod(
                    namespace="alpha",
                    name=f"train-{number}-{place}",
                    uid=f"uid-{number}-{place}",
                    node=f"node-{number:05}",
                    bound_ms=bound_ms,
                    asks=asks,
                )

    def put_pods(self, database: Database, hour: int) -> None:
        """Have the API tell of all pods, which were bound when the hour began."""
        with database.write() as connection:
            note_pods(connection, CLUSTER, self.pods(start_ms(hour)), [], start_ms(hour))

    def follow(self, database: Database, hour: int) -> None:
        """Have the API say that nothing has changed until the hour's grace has passed."""
        with database.write() as connection:
            note_pods(connection, CLUSTER, [], [], start_ms(hour + 1) + GRACE_MS)

    def put_hour(self, database: Database, hour: int) -> None:
        """Store an hour's bodies, and of the next hour what agents have pushed when that one's grace has passed."""
        self._put(database, hour, self.bodies(hour))
        self._put(database, hour + 1, self.bodies(hour + 1, until=GRACE_MS))

    def _put(self, database: Database, hour: int, sent: Iterator[wire.NodeHour]) -> None:
        while True:
            with database.write() as connection:
                for count, each in enumerate(sent, start=1):
                    data = wire.encode(each)
                    now_ms = start_ms(hour + 1)
                    put_body(connection, read_body(data), data, now_ms=now_ms, grace_ms=GRACE_MS)
                    if count == BATCH:
                        break
                else:
                    return


_LINES = """
INSERT INTO lines (
    line_id, cluster, node, hour, day, month, start_ms, end_ms, account, kind, device, parent, shares, model, sku,
    unit, unit_price, namespace, pod, container, claim, cost_center, team, tier, owner_version, price_version,
    policy_version, evidence, gpu_ms_num, quantity_ms_num, ms_den, busy_ms, memory_byte_seconds, energy_mj,
    list_micros, amount_micros, part, revision, resource, list_hourly, hourly, allocation_micros, usage_micros
)
SELECT
    md5(concat_ws('/', CAST(:cluster AS text), card, hour)), CAST(:cluster AS text),
    'node-' || lpad((card / 8)::text, 5, '0'), hour,
    to_char(to_timestamp(hour * 3600.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD'), CAST(:month AS text),
    hour::bigint * 3600000, hour::bigint * 3600000 + 3600000,
    CASE WHEN held THEN 'cc-' || who % 10 ELSE 'platform:idle' END, CASE WHEN held THEN 'held' ELSE 'free' END,
    'GPU-' || card, 'GPU-' || card, CASE WHEN held THEN '0' ELSE '' END, 'NVIDIA H100 80GB HBM3',
    'gpu.h100-80gb-hbm3', 'gpu-hour', '3', CASE WHEN held THEN 'team-' || who ELSE '' END,
    CASE WHEN held THEN 'train-' || card || '-' || hour / 24 ELSE '' END, CASE WHEN held THEN 'main' ELSE '' END, '',
    CASE WHEN held THEN 'cc-' || who % 10 END, CASE WHEN held THEN 'team-' || who END, NULL,
    CASE WHEN held THEN 1 END, 1, 1, CASE WHEN held THEN 'exclusive' ELSE '' END, 3600000, 3600000, 1,
    CASE WHEN held THEN 1800000 END, NULL, NULL, 3000000, 3000000, 'charge', 1,
    CASE WHEN held THEN 'nvidia.com/gpu' ELSE '' END, '3000000', '3000000', 3000000,
    CASE WHEN held THEN 1500000 ELSE 3000000 END
FROM (
    SELECT hour, card, (card * 7919 + hour / 24 % 1000 * 1047 + CAST(:seed AS int)) % CAST(:namespaces AS int) AS who,
        (card * 31 + hour / 8 * 17 + CAST(:seed AS int)) % 5 > 0 AS held
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS hour,
        generate_series(0, CAST(:cards AS int) - 1) AS card
) AS fleet
"""


def put_lines_of(database: Database, month: str, cards: int, cluster: str = CLUSTER, seed: int = 1) -> int:
    """Rated lines of a UTC month, one a card and hour, and the totals of its days; how many lines."""
    first, last = first_hour(month), first_hour(month_after(month)) - 1
    values = {"cluster": cluster, "month": month, "first": first, "last": last, "cards": cards, "seed": seed}
    with database.write() as connection:
        want_months(connection, lines, [month])
        connection.execute(text(_LINES), values | {"namespaces": NAMESPACES})
        connection.execute(
            text("INSERT INTO marked_days SELECT DISTINCT cluster, day FROM lines WHERE month = :month"),
            {"month": month},
        )
    while True:
        with database.write() as connection:
            if not rebuild_marked_day(connection):
                break
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return cards * (last - first + 1)
