"""What the page and `chargeback status` say of the two meters: where they differ, what is wrong, who has no agent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from chargeback.core.hours import HOUR_MS
from chargeback.core.nodes import Node
from chargeback.core.pods import Ask, Pod
from chargeback.store.node_states import note_nodes
from chargeback.store.pods import note_pods
from tests.chargeback.api.serving import serving
from tests.chargeback.store.bodies import CLUSTER, HOUR, MINUTE_MS, body, gpu, holding, start_ms
from tests.programs import chargeback

NOW_MS = start_ms(HOUR + 1) + 30 * MINUTE_MS
GPU = "nvidia.com/gpu"
QUOTA = f"""
kind: ResourceQuota
metadata: {{name: gpu, namespace: alpha}}
spec: {{hard: {{requests.{GPU}: "4"}}}}
status: {{hard: {{requests.{GPU}: "4"}}, used: {{requests.{GPU}: "1"}}}}
"""


def pod(name: str, node: str, gpus: int = 1) -> Pod:
    return Pod(
        namespace="alpha",
        name=name,
        uid=f"uid-{name}",
        node=node,
        bound_ms=start_ms(HOUR),
        asks=(Ask(container="main", resource=GPU, count=gpus),),
    )


async def test_differences_problems_and_nodes_without_an_agent(tmp_path: Path) -> None:
    """A holding that began a minute before it was seen, a pod that no card is left for, a node that never pushed."""
    async with serving(tmp_path, NOW_MS, grace="0s") as server:
        with server.database.write() as connection:
            nodes = [Node(name=name, uid=name, created_ms=0, gpus={GPU: 8}) for name in ("n1", "n2")]
            note_nodes(connection, CLUSTER, nodes, NOW_MS)
            note_pods(connection, CLUSTER, [pod("train", "n1"), pod("big", "n1", 2), pod("alone", "n2")], [], NOW_MS)
        sent = body(gpus=[gpu()], holdings=[holding(pod="train", start=MINUTE_MS, end=HOUR_MS)])
        assert (await server.put(sent)).status == 200
        await server.close_hours()
        page = await server.metrics_with('chargeback_meter_difference_seconds{cluster="lab",kind="early"} 60.0')
        for line in (
            'chargeback_meter_difference_seconds{cluster="lab",kind="unplaced"} 7200.0',
            'chargeback_problems{cluster="lab",kind="unplaced"} 1.0',
            'chargeback_unmetered_devices{cluster="lab",node="n2"} 8.0',
            'chargeback_unmetered_pods{cluster="lab",node="n2"} 1.0',
        ):
            assert line in page.splitlines(), line
        assert 'node="n1"' not in "".join(line for line in page.splitlines() if "unmetered" in line)
        shown = await asyncio.to_thread(
            chargeback, "status", "--data", str(tmp_path), "--output", "json", check=False
        )
    said = json.loads(shown.stdout)
    assert shown.returncode == 1  # a node without an agent is not well
    assert [(each["node"], each["devices"], each["pods"]) for each in said["unmetered"]] == [("n2", 8, 1)]


async def test_our_own_count_of_a_quota_stands_beside_kubernetes(tmp_path: Path) -> None:
    """Of pods that the API shows, those that wait for a node included."""
    quotas = tmp_path / "quotas.yaml"
    quotas.write_text(QUOTA)
    async with serving(tmp_path, NOW_MS, quotas=str(quotas)) as server:
        server.tables.pods.replace({"a": pod("train", "n1"), "b": pod("big", "n1", 2)}, NOW_MS)
        labels = (
            'cluster="lab",cost_center="cc-a",enforced="true",namespace="alpha",'
            f'resource="requests.{GPU}",resourcequota="gpu",team="red"'
        )
        page = await server.metrics_with(f"chargeback_quota_counted{{{labels}}} 3.0")
        assert f"chargeback_quota_used{{{labels}}} 1.0" in page.splitlines()
