"""Both meters together: a real API server's pods, an agent's bodies, and what the aggregator makes of them."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from chargeback.core.hours import HOUR_MS, format_hour
from chargeback.core.lines import Line
from chargeback.rater import provisional
from chargeback.store.tables import node_states, pods
from exporter import wire
from tests.chargeback.store.bodies import body, gpu, holding
from tests.cluster.aggregating import Running, aggregating
from tests.cluster.control_plane import ControlPlane, apply_shipped_rights, control_plane
from tests.cluster.load import GPU
from tests.programs import wait_for

NODE, FIRST, SECOND = "gpu-1", "GPU-1", "GPU-2"
# The test's own clock and the API server's are one; its times have whole seconds.
SECOND_MS = 1000
WITHIN_MS = 180_000  # it takes 20 s, and what is pushed reaches a minute ahead


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("meters")) as plane:
        apply_shipped_rights(plane)
        yield plane


class Site:
    """One node with two cards, what its agent says of them in the running hour, and the pods that the API has."""

    def __init__(self, plane: ControlPlane, aggregator: Running) -> None:
        if (left_ms := HOUR_MS - now_ms() % HOUR_MS) < WITHIN_MS:
            time.sleep(left_ms / 1000 + 1)  # the hour must not end under the test
        self.plane, self.aggregator = plane, aggregator
        self.hour = now_ms() // HOUR_MS
        self.seq = 0
        plane.create(
            "/api/v1/namespaces", "Namespace", "alpha", metadata={"labels": {"cost-center": "cc-a", "team": "a"}}
        )
        plane.create("/api/v1/nodes", "Node", NODE)
        offered = {GPU: "2", "pods": "110"}
        plane.merge(f"/api/v1/nodes/{NODE}/status", {"status": {"capacity": offered, "allocatable": offered}})

    def at(self, unix_ms: int) -> int:
        """As ms from the hour's start."""
        return unix_ms - self.hour * HOUR_MS

    def bind(self, name: str) -> int:
        """A pod with one GPU, given the node by the API's own binding; when, to the second."""
        asked = {GPU: "1"}
        container = {"name": "main", "image": "none", "resources": {"limits": asked, "requests": asked}}
        path = "/api/v1/namespaces/alpha/pods"
        self.plane.create(path, "Pod", name, spec={"containers": [container], "terminationGracePeriodSeconds": 0})
        self.plane.create(f"{path}/{name}/binding", "Binding", name, target={"kind": "Node", "name": NODE})
        conditions = self.plane.call("GET", f"{path}/{name}")["status"]["conditions"]
        return next(_ms(each["lastTransitionTime"]) for each in conditions if each["type"] == "PodScheduled")

    def finish(self, name: str) -> int:
        """Its container ends now, as a kubelet would say; when, to the second."""
        finished_ms = now_ms() // SECOND_MS * SECOND_MS
        text = datetime.fromtimestamp(finished_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        terminated = {"exitCode": 0, "finishedAt": text, "startedAt": text}
        state = {"name": "main", "image": "none", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": "Succeeded", "containerStatuses": [state | {"state": {"terminated": terminated}}]}
        self.plane.merge(f"/api/v1/namespaces/alpha/pods/{name}/status", {"status": status})
        return finished_ms

    def push(self, through_ms: int, *holdings: wire.Holding) -> None:
        self.seq += 1
        through = self.at(through_ms)
        cards = [gpu(uuid, observed=[(0, through)]) for uuid in (FIRST, SECOND)]
        sent = body(NODE, self.hour, seq=self.seq, through=through, final=False, gpus=cards, holdings=list(holdings))
        url = f"{self.aggregator.url}/v1/node-hours/lab/{NODE}/{format_hour(self.hour)}"
        request = urllib.request.Request(url, data=wire.encode(sent), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def lines(self, pod: str) -> list[tuple[int, int, str, str]]:
        """What one pod is billed for: from, to, device and evidence."""
        return sorted(
            (self.at(line.start_ms), self.at(line.end_ms), line.device, line.evidence)
            for line in self.all_lines()
            if line.pod == pod
        )

    def all_lines(self) -> list[Line]:
        with self.aggregator.database.read() as connection:
            return provisional(connection, now_ms())

    def stored(self, name: str) -> Any:
        with self.aggregator.database.read() as connection:
            return connection.execute(select(pods).where(pods.c.pod == name)).first()


@pytest.fixture
def site(plane: ControlPlane, tmp_path: Path) -> Iterator[Site]:
    with aggregating(plane, tmp_path) as aggregator:
        yield Site(plane, aggregator)


def test_both_meters_together(site: Site) -> None:
    """One node through its life: unmetered, held from bind to end, a pod too short to be seen, cordoned, gone."""
    wait_for("the node without an agent", lambda: shown(site, "chargeback_unmetered_devices") == 2.0)

    bound = site.at(site.bind("train"))
    wait_for("the pod in the ledger", lambda: site.stored("train"))
    seen = site.at(now_ms()) + 3 * SECOND_MS
    train = holding(FIRST, pod="train", start=seen, end=seen + 2 * SECOND_MS)
    site.push(site.hour * HOUR_MS + train.end, train)
    assert site.lines("train") == [(bound, seen, FIRST, "api"), (seen, train.end, FIRST, "exclusive")]
    wait_for("the agent on the page", lambda: shown(site, "chargeback_unmetered_devices") is None)

    # A pod that came and went between two beats is billed for a card that was free, and has the same price.
    brief = site.at(site.bind("brief"))
    wait_for("a second of it, and the pushed time", lambda: site.at(now_ms()) > max(brief, train.end) + SECOND_MS)
    over = site.at(site.finish("brief"))
    finished = site.at(site.finish("train"))
    wait_for("both ended", lambda: all(site.stored(name).ended_ms for name in ("train", "brief")))
    # An old kubelet goes on listing the finished pod.
    late = holding(FIRST, pod="train", start=seen, end=finished + 20 * SECOND_MS)
    site.push(site.hour * HOUR_MS + late.end, late)
    assert site.lines("brief") == [(brief, over, SECOND, "api")]
    assert site.lines("train") == [
        (bound, seen, FIRST, "api"),
        (seen, finished + SECOND_MS, FIRST, "exclusive"),
    ]
    balanced(site, late.end)

    site.plane.merge(f"/api/v1/nodes/{NODE}", {"spec": {"unschedulable": True}})
    wait_for("the cordon in the ledger", lambda: states(site)[-1:] == [(True, None)])
    end = site.at(now_ms()) + 60 * SECOND_MS
    site.push(site.hour * HOUR_MS + end, late)
    assert {line.kind for line in site.all_lines() if not line.pod} == {"cordoned", "free"}
    balanced(site, end)

    site.plane.call("DELETE", f"/api/v1/nodes/{NODE}")
    wait_for("the node's end in the ledger", lambda: states(site)[-1][1] is not None)


def balanced(site: Site, through: int) -> None:
    """Two cards existed from the hour's start through what was pushed: to the millisecond."""
    lines = site.all_lines()
    assert sum(line.gpu_ms_num / line.ms_den for line in lines) == 2 * through


def states(site: Site) -> list[tuple[bool, int | None]]:
    with site.aggregator.database.read() as connection:
        query = select(node_states.c.cordoned, node_states.c.until_ms).order_by(node_states.c.version)
        return [(bool(row.cordoned), row.until_ms) for row in connection.execute(query)]


def shown(site: Site, name: str) -> float | None:
    families = text_string_to_metric_families(site.aggregator.page().decode())
    values = [each.value for family in families for each in family.samples if each.name == name]
    return values[0] if values else None


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
