"""What breaks under the aggregator's watch on a real API server: tables recover, no change is lost, none is invented.

Histories of owners and pods are read from the ledger's database, quotas from the page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chargeback.cluster.api import ClusterApi, Expired
from chargeback.cluster.kind import Kind
from chargeback.cluster.login import find_cluster
from chargeback.cluster.objects import KubernetesObject
from tests.cluster.aggregating import CLUSTER, Running, aggregating, ledger
from tests.cluster.control_plane import (
    AGGREGATOR_TOKEN,
    ControlPlane,
    Refused,
    apply_shipped_rights,
    control_plane,
    may_list_namespaces,
)
from tests.cluster.quota_page import differences, samples
from tests.cluster.relay import relay
from tests.cluster.team import KEY, NAMESPACES, now_ms
from tests.cluster.upheaval import RECOVERS_WITHIN_S, Upheaval
from tests.programs import running, wait_for

FIVE_MINUTES_MS = 300_000
# By a clock in a hurry. Just started, an API server says 403 for a moment: that is no reason to wait for minutes.
FOLLOWED_AGAIN_WITHIN_S = 20
NOTICED_WITHIN_MS = 10_000  # of what happens under its eyes, on a busy machine


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("faults")) as plane:
        apply_shipped_rights(plane)
        yield plane


def test_a_killed_api_server(plane: ControlPlane, tmp_path: Path) -> None:
    """While it is away the tables stay as they were; once it is back it is followed again, soon."""
    all_that = Upheaval(plane, "killed")
    quota = (all_that.steady.name, "gpus", KEY)
    with aggregating(plane, tmp_path) as aggregator:
        all_that.wait_known(aggregator)
        wait_equal(plane, aggregator.page)
        plane.stop_api_server(kill=True)
        try:
            time.sleep(5)  # several tries, and several pages
            assert aggregator.costs(all_that.steady.name) == ["cc-1"]
            assert samples(aggregator.page(), "chargeback_quota_hard")[quota] == 8
        finally:
            plane.start_api_server()
        late = all_that.moving.hold("late", 1)
        wait_for("the watch", lambda: aggregator.lives(all_that.moving.name, "late"), FOLLOWED_AGAIN_WITHIN_S)
        assert [life.uid for life in aggregator.lives(all_that.moving.name, "late")] == [late.uid]
        all_that.happen()
        all_that.wait_seen(aggregator)
        all_that.check(aggregator, now_ms())
        wait_equal(plane, aggregator.page)


@pytest.mark.parametrize("restart", [False, True], ids=["compacted", "compacted and restarted"])
def test_a_compacted_history(plane: ControlPlane, tmp_path: Path, restart: bool) -> None:
    """Cut off while everything changes; what is then asked for is forgotten (410), so all is listed again."""
    all_that = Upheaval(plane, "restarted" if restart else "compacted")
    with cut_off(plane, tmp_path, all_that) as (aggregator, mend):
        before = plane.call("GET", f"{NAMESPACES}?limit=1")["metadata"]["resourceVersion"]
        all_that.happen()
        plane.compact()
        if restart:  # an API server that lives on remembers more than etcd
            plane.stop_api_server(kill=True)
            plane.start_api_server()
            assert is_expired(plane, before)
        mend()
        all_that.wait_seen(aggregator)
        all_that.check(aggregator, now_ms())
        wait_equal(plane, aggregator.page)


def test_a_dead_peer(plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that stay open and say nothing any more are given up, and what was missed is taken in."""
    monkeypatch.setattr("chargeback.cluster.api.TIMEOUT_S", 3)
    monkeypatch.setattr("chargeback.cluster.api.WATCH_SILENT_S", 3)
    all_that = Upheaval(plane, "dead-peer")
    with ExitStack() as stack:
        wire = stack.enter_context(relay(plane.url))
        aggregator = stack.enter_context(aggregating(_through(plane, wire.url, tmp_path), tmp_path))
        all_that.wait_known(aggregator)
        assert wire.hang() > 0
        all_that.happen()
        all_that.wait_seen(aggregator)
        all_that.check(aggregator, now_ms())
        wait_equal(plane, aggregator.page)
        wire.cut()  # nobody else ends what hangs


def test_a_quiet_cluster(plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing changes there may be no bookmark either: every table is known to be whole all the same."""
    monkeypatch.setattr("chargeback.cluster.api.WATCH_S", 7)
    monkeypatch.setattr("chargeback.cluster.api.WATCH_SILENT_S", 12)
    with aggregating(plane, tmp_path) as aggregator:
        began_s = now_ms() / 1000
        wait_for("all tables", lambda: min(read_s(aggregator).values(), default=0) > began_s + 5, 30)
        assert len(read_s(aggregator)) == 10


def read_s(aggregator: Running) -> dict[str, float]:
    """When each table was last known to be whole, as the page says it."""
    families = text_string_to_metric_families(aggregator.page().decode())
    name = "chargeback_cluster_read_timestamp_seconds"
    return {each.labels["table"]: each.value for family in families for each in family.samples if each.name == name}


@pytest.mark.parametrize("ahead_ms", [FIVE_MINUTES_MS, -FIVE_MINUTES_MS], ids=["ahead", "behind"])
def test_a_wrong_clock(plane: ControlPlane, tmp_path: Path, ahead_ms: int) -> None:
    """Five minutes off, under the watch and cut off from it: all is dated by the API server's time."""
    suffix = "ahead" if ahead_ms > 0 else "behind"
    seen = Upheaval(plane, suffix)
    with aggregating(plane, tmp_path, ahead_ms=ahead_ms) as aggregator:
        seen.wait_known(aggregator)
        seen.happen()
        seen.wait_seen(aggregator)
        seen.check(aggregator, seen.happened_ms + NOTICED_WITHIN_MS)
        wait_equal(plane, aggregator.page)
    missed = Upheaval(plane, f"missed-{suffix}")
    with cut_off(plane, tmp_path, missed, ahead_ms=ahead_ms) as (aggregator, mend):
        missed.happen()
        mend()
        missed.wait_seen(aggregator)
        missed.check(aggregator, now_ms())
        seen.check(aggregator, seen.happened_ms + NOTICED_WITHIN_MS)


def test_a_killed_aggregator(plane: ControlPlane, tmp_path: Path) -> None:
    """What changed while it was away is in its history when it is back, each change once."""
    all_that = Upheaval(plane, "away")
    command = (
        *("serve", "--data", str(tmp_path), "--cluster", CLUSTER),
        *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN))),
    )
    with ledger(tmp_path) as kept:
        with running("chargeback.cli.main", *command, log=tmp_path / "first.log") as server:
            all_that.wait_known(kept)
            server.kill()
        all_that.happen()
        with running("chargeback.cli.main", *command, log=tmp_path / "second.log") as server:
            all_that.wait_seen(kept)
            all_that.check(kept, now_ms())
            wait_equal(plane, lambda: server.get("/metrics"))


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


@contextmanager
def cut_off(
    plane: ControlPlane, folder: Path, all_that: Upheaval, *, ahead_ms: int = 0
) -> Iterator[tuple[Running, Callable[[], None]]]:
    """An aggregator that knew the teams and reaches the API no more; and what mends that."""
    with (
        relay(plane.url) as wire,
        aggregating(_through(plane, wire.url, folder), folder, ahead_ms=ahead_ms) as aggregator,
    ):
        all_that.wait_known(aggregator)
        wire.cut()
        yield aggregator, wire.mend


def wait_equal(plane: ControlPlane, page: Callable[[], bytes]) -> None:
    """Wait until quotas on the page are as the controller counts them."""
    wait_for("the controller's quotas on the page", lambda: not differences(plane, page()), RECOVERS_WITHIN_S)


def is_expired(plane: ControlPlane, version: str) -> bool:
    """Whether a watch from this version on is refused, as the aggregator's is."""
    try:
        said = plane.call("GET", f"{NAMESPACES}?watch=1&timeoutSeconds=1&resourceVersion={version}")
    except Refused as error:
        return error.status == 410
    except ValueError:  # no event, or several: it was not refused
        return False
    return bool(said["type"] == "ERROR" and said["object"]["code"] == 410)


def _through(plane: ControlPlane, url: str, folder: Path) -> ControlPlane:
    """The same API server by another way, with kubeconfigs of its own."""
    return replace(plane, url=url, folder=folder)
