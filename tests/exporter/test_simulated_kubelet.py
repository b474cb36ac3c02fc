"""The simulated kubelet says over a real socket what the simulated node says in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.clock import ReplayClock
from exporter.kubelet import Kubelet, KubeletError
from exporter.scenario import load_scenario
from exporter.simulated import SimulatedNode
from exporter.simulated_kubelet import main, serving

START = datetime(2026, 10, 3, 14, tzinfo=UTC)
DOWN_FROM, DOWN_UNTIL = START + timedelta(minutes=1), START + timedelta(minutes=2)
SCENARIO = f"""
seed: lab
gpus:
  - {{model: NVIDIA H100 80GB HBM3, memory_mib: 81559}}
  - {{model: NVIDIA A100-SXM4-80GB, memory_mib: 81920, mig: [3g.40gb, 1g.10gb]}}
  - {{model: NVIDIA L40S, memory_mib: 46068, shares: 4}}
workloads:
  - {{namespace: a, pod: whole, on: 0}}
  - {{namespace: a, pod: slice, resource: nvidia.com/mig-3g.40gb}}
  - {{namespace: b, pod: shares, on: 2, gpus: 2}}
events:
  - {{at: {DOWN_FROM.isoformat()}, until: {DOWN_UNTIL.isoformat()}, kubelet: down}}
"""


async def test_what_the_socket_says_is_what_the_node_says(tmp_path: Path) -> None:
    """Whole card, MIG instance and shares, and everything that is offered; an outage is an error."""
    clock = ReplayClock(int(START.timestamp() * 1000))
    node = SimulatedNode(load_scenario(SCENARIO, "scenario", node="n1"), clock=clock)
    kubelet = Kubelet(tmp_path / "kubelet.sock")
    with serving(node, tmp_path / "kubelet.sock"):
        said, expected = kubelet.list_pods(), node.list_pods()
        assert len(said.allocations) == 4
        assert sorted(said.allocations, key=str) == sorted(expected.allocations, key=str)
        assert said.offered == expected.offered
        await clock.sleep(90)
        with pytest.raises(KubeletError, match="UNAVAILABLE"):
            kubelet.list_pods()
        await clock.sleep(60)
        assert kubelet.list_pods() == said


def test_a_scenario_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2."""
    assert main([str(tmp_path / "none.yaml"), "--node", "n", "--socket", str(tmp_path / "s")]) == 2
    assert "none.yaml" in capsys.readouterr().err
