"""Killing a part of the stage and starting it again, one row a part; while nobody could observe, the witness is told.

A part is back when what it serves is: its own answer, or what the agent's page says of it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.cluster import shipped_agent
from tests.cluster.control_plane import Refused
from tests.programs import fetch, wait_for
from tests.proof.stage.scenario import Part
from tests.proof.stage.stage import Stage, now_ms
from tests.proof.witness.testimony import Blind

BACK_WITHIN_S = 120.0
_PRESENT = "nvidia.com/gpu.present"  # what the agent's DaemonSet wants of a node


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """kill, start: at once. back: waits. blinds: what is not observed meanwhile is the scenario's doing."""

    kill: Callable[[Stage], None]
    start: Callable[[Stage], None]
    back: Callable[[Stage], None]
    blinds: bool = False


def restart(stage: Stage, part: Part, down_s: float) -> None:
    """Returns when the part is back."""
    fault = FAULTS[part]
    with stage.locks[part]:
        killed_ms = now_ms()
        fault.kill(stage)
        dead_ms = now_ms()
        stage.killed[part] += 1
        time.sleep(down_s)
        starts_ms = now_ms()
        fault.start(stage)
        fault.back(stage)
        if fault.blinds:
            dark = {"dark_from_ms": dead_ms, "dark_until_ms": starts_ms}
            stage.tell(Blind(at_ms=killed_ms, until_ms=now_ms(), why=f"{part} was killed", **dark))


def observes(stage: Stage) -> bool:
    """Whether the agent answers, and sees both the cards and who holds them."""
    found = {each.labels["collector"]: each.value for each in _samples(stage, "gpu_exporter_collector_success")}
    return found.get("gpus") == found.get("holdings") == 1


def wait_observed(stage: Stage) -> None:
    wait_for("the agent observes the node", lambda: observes(stage), BACK_WITHIN_S)


def wait_looked(stage: Stage) -> None:
    """Until the agent has looked at the node as it is now."""
    after_s = time.time()

    def looked() -> bool:
        return any(each.value > after_s for each in _samples(stage, "gpu_exporter_last_beat_timestamp_seconds"))

    wait_for("the agent has looked", looked, BACK_WITHIN_S)


def _samples(stage: Stage, name: str) -> list[Sample]:
    """Of the agent's page; none while it does not answer."""
    status, page = fetch(f"{stage.agent_url}/metrics")
    families = text_string_to_metric_families(page.decode()) if status == 200 else ()
    return [sample for family in families for sample in family.samples if sample.name == name]


def _kill_agent(stage: Stage) -> None:
    """SIGKILL, before anything asks it to end; then no pod in its place, else the kubelet would have it back.

    It may have had it back already, and that one looks until it is told to end: nobody does when the pod is gone.
    """
    wait_for("an agent is killed", lambda: sum(map(_killed, _agent_pids(stage))) > 0, BACK_WITHIN_S)
    _present(stage, "false")
    wait_for("no agent is left", lambda: not stage.pods(shipped_agent.NAMESPACE), BACK_WITHIN_S)


def _killed(pid: int) -> bool:
    """False: it had ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _agent_pids(stage: Stage) -> list[int]:
    """Of the containers of its pods: of none, until the API server knows that they run."""
    found = []
    for pod in stage.pods(shipped_agent.NAMESPACE):
        for status in pod["status"].get("containerStatuses", []):
            if "running" in status["state"]:
                found += stage.node.cgroups.pids(status["containerID"].removeprefix("containerd://"))
    return found


def _start_agent(stage: Stage) -> None:
    _present(stage, "true")


def _present(stage: Stage, value: str) -> None:
    stage.merge(f"/api/v1/nodes/{stage.node.name}", {"metadata": {"labels": {_PRESENT: value}}})


def _kill_api_server(stage: Stage) -> None:
    stage.plane.stop_api_server(kill=True)


def _wait_plugin(stage: Stage) -> None:
    stage.plugin.wait_offered()


def _wait_node(stage: Stage) -> None:
    """The kubelet has told the API server, and the plugin has told the kubelet."""

    def ready() -> bool:
        try:
            conditions = stage.plane.call("GET", f"/api/v1/nodes/{stage.node.name}")["status"]["conditions"]
        except (Refused, OSError):
            return False
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    wait_for("the node is Ready", ready, BACK_WITHIN_S)
    wait_observed(stage)
    _wait_plugin(stage)


FAULTS: dict[Part, Fault] = {
    "agent": Fault(kill=_kill_agent, start=_start_agent, back=wait_observed, blinds=True),
    "aggregator": Fault(
        kill=lambda stage: stage.aggregator.kill(),
        start=lambda stage: stage.aggregator.start(),
        back=lambda stage: stage.aggregator.wait_ready(),
    ),
    "database": Fault(
        kill=lambda stage: stage.postgres.kill(),
        start=lambda stage: stage.postgres.start_again(),  # which waits until it answers
        back=lambda stage: None,
    ),
    "kubelet": Fault(
        kill=lambda stage: stage.node.kubelet.stop(kill=True),
        start=lambda stage: stage.node.kubelet.start(),
        back=_wait_node,
        blinds=True,
    ),
    "plugin": Fault(
        kill=lambda stage: stage.plugin.kill(), start=lambda stage: stage.plugin.start(), back=_wait_plugin
    ),
    "containerd": Fault(
        kill=lambda stage: stage.node.runtime.stop(kill=True),
        start=lambda stage: stage.node.runtime.start(),
        back=_wait_node,
    ),
    "api-server": Fault(
        kill=_kill_api_server,
        start=lambda stage: stage.plane.start_api_server(),
        back=lambda stage: stage.plane.wait_ready(),
    ),
}
