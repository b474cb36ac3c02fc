"""Claims with adminAccess see devices and hold none: from the API's tables to lines that nobody pays twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chargeback.core.claims import Claim, ClaimRequest
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Line
from chargeback.core.lives import PodLife
from chargeback.core.node_hour import Holding
from chargeback.core.pods import Pod
from chargeback.core.watching import without_watching
from chargeback.store import month_facts
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.node_states import unmetered_nodes
from chargeback.store.problems import problems_since
from chargeback.tasks.close_hours import close_all
from chargeback.tasks.follow_cluster import ClusterTables, Noter
from exporter import wire
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, gpu, holding, put, start_ms

NOW_MS = start_ms(HOUR + 2)
BOTH = [
    holding(pod="train", source="dra", claim="alpha/mine", evidence="equal"),
    holding(namespace="beta", pod="dcgm", source="dra", claim="beta/all", evidence="equal"),
]


def claiming(namespace: str, name: str, pod: str, *, admin: bool) -> Claim:
    request = ClaimRequest(classes=("gpu.nvidia.com",), count=1, admin=admin)
    return Claim(namespace=namespace, name=name, uid=f"claim-{name}", requests=(request,), pods=(pod,))


def bound(namespace: str, name: str) -> Pod:
    at_ms = start_ms(HOUR)
    return Pod(namespace=namespace, name=name, uid=f"uid-{name}", node="n1", bound_ms=at_ms, uses_claims=True)


def noter(database: Database, *, pods: bool = True, claims: bool = True) -> Noter:
    """Of a cluster in which alpha/train holds a card that beta/dcgm watches."""
    tables = ClusterTables()
    if pods:
        tell_pods(tables)
    if claims:
        tell_claims(tables)
    return Noter(database=database, cluster=CLUSTER, tables=tables, source="api", now_ms=lambda: NOW_MS)


def tell_pods(tables: ClusterTables) -> None:
    tables.pods.replace({each.uid: each for each in (bound("alpha", "train"), bound("beta", "dcgm"))}, NOW_MS)


def tell_claims(tables: ClusterTables) -> None:
    mine = claiming("alpha", "mine", "uid-train", admin=False)
    watch = claiming("beta", "all", "uid-dcgm", admin=True)
    tables.resourceclaims.replace({each.uid: each for each in (mine, watch)}, NOW_MS)


def rated(database: Database, holdings: list[wire.Holding]) -> list[Line]:
    put(database, body(gpus=[gpu()], holdings=holdings))
    return close(database)


def close(database: Database) -> list[Line]:
    close_all(database, NOW_MS, GRACE_MS)
    with database.read() as connection:
        return [line for line in lines_of_month(connection, "2026-10") if line.start_ms < start_ms(HOUR + 1)]


def hours(lines: list[Line]) -> dict[str, float]:
    """By pod, or by kind where nobody holds; whole-card hours."""
    return {line.pod or line.kind: line.gpu_ms_num / line.ms_den / HOUR_MS for line in lines if line.gpu_ms_num}


async def test_who_watches_holds_nothing(ledger: Database) -> None:
    """The card is the other's alone, who pays for all of it, and nothing is missing."""
    await noter(ledger).note()
    lines = rated(ledger, BOTH)
    assert hours(lines) == {"train": 1.0}
    with ledger.read() as connection:
        assert problems_since(connection, HOUR) == []


async def test_a_card_that_is_only_watched_is_idle(ledger: Database) -> None:
    await noter(ledger).note()
    assert hours(rated(ledger, BOTH[1:])) == {"free": 1.0}


async def test_what_was_rated_before_the_claim_was_known_is_rated_again(ledger: Database) -> None:
    """Until then both paid their half."""
    follower = noter(ledger, claims=False)
    await follower.note()
    assert hours(rated(ledger, BOTH)) == {"train": 0.5, "dcgm": 0.5}
    tell_claims(follower.tables)
    await follower.note()
    assert hours(close(ledger)) == {"train": 1.0}


async def test_a_claim_may_be_known_before_its_pod(ledger: Database) -> None:
    follower = noter(ledger, pods=False)
    await follower.note()
    tell_pods(follower.tables)
    await follower.note()
    assert hours(rated(ledger, BOTH)) == {"train": 1.0}


async def test_a_claim_that_is_gone_has_watched_all_the_same(ledger: Database) -> None:
    """Rated after pod and claim were deleted, and by a process that never saw them."""
    await noter(ledger).note()
    assert hours(rated(ledger, BOTH)) == {"train": 1.0}
    put(ledger, body(gpus=[gpu()], holdings=BOTH, seq=9))
    assert hours(close(ledger)) == {"train": 1.0}


def networks(*pods: str) -> Claim:
    """Of network cards, and allocated."""
    asked = ClaimRequest(classes=("nics",), count=1)
    device = ("dra.net", "n1", "nic-0")
    return Claim(namespace="beta", name="net", uid="claim-net", requests=(asked,), pods=pods, devices=(device,))


async def test_a_claim_of_other_devices_than_gpus_holds_none(ledger: Database) -> None:
    """No slot is missing for such a pod, and its node needs no agent."""
    follower = noter(ledger, pods=False, claims=False)
    tables = follower.tables
    nic = bound("beta", "nic")
    elsewhere = replace(nic, name="other", uid="uid-other", node="cpu")
    tables.pods.replace({each.uid: each for each in (nic, elsewhere)}, NOW_MS)
    tables.resourceclaims.replace({"claim-net": networks(nic.uid, elsewhere.uid)}, NOW_MS)
    await follower.note()
    assert hours(rated(ledger, [])) == {"free": 1.0}
    with ledger.read() as connection:
        assert problems_since(connection, HOUR) == []
        assert unmetered_nodes(connection) == []
        span_ms = (start_ms(HOUR), start_ms(HOUR + 1))
        assert month_facts.unmetered(connection, (HOUR, HOUR), span_ms) == []


async def test_a_gpu_that_is_claimed_beside_other_devices_is_missed(ledger: Database) -> None:
    """Nobody saw which it was."""
    follower = noter(ledger, claims=False)
    card = claiming("alpha", "mine", "uid-train", admin=False)
    follower.tables.resourceclaims.replace({"claim-net": networks("uid-train", "uid-dcgm"), card.uid: card}, NOW_MS)
    await follower.note()
    assert hours(rated(ledger, [])) == {"free": 1.0}
    with ledger.read() as connection:
        assert [each.subject for each in problems_since(connection, HOUR)] == ["alpha/train: devices of a claim"]


@pytest.mark.parametrize(
    ("admin", "watches"), [((), False), ((True,), True), ((True, True), True), ((True, False), False)]
)
def test_a_claim_only_watches_if_all_its_requests_do(admin: tuple[bool, ...], watches: bool) -> None:
    requests = tuple(ClaimRequest(classes=("gpu.nvidia.com",), count=1, admin=each) for each in admin)
    assert Claim(namespace="a", name="b", uid="c", requests=requests).only_watches is watches


def test_only_the_pod_that_watched_is_left_out() -> None:
    """Not another of its name, nor one with a claim of that name elsewhere, nor what it held by another claim."""
    life = PodLife(
        namespace="beta", pod="dcgm", uid="u", bound_ms=HOUR_MS, alive_ms=HOUR_MS + 60, ended_ms=HOUR_MS + 60,
        watches=("beta/all",),
    )  # fmt: skip

    def by(claim: str | None, start: int = 0, end: int = 60, namespace: str = "beta") -> Holding:
        return Holding(
            device="GPU-1", shares=(0,), start=start, end=end,
            namespace=namespace, pod="dcgm", container="main", claim=claim,
        )  # fmt: skip

    others = [by(None), by("beta/mine"), by("beta/all", namespace="alpha"), by("beta/all", 60, 90)]
    assert without_watching([by("beta/all"), *others], [life], HOUR_MS) == tuple(others)
    assert without_watching([by("beta/all", 30, 90)], [life], HOUR_MS) == ()
