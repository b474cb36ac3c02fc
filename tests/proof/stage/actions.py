"""What a step of a scenario does to the stage: one function a verb."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.node import Container, node_pid
from tests.programs import wait_for
from tests.proof.stage import scenario as steps
from tests.proof.stage.driver import Work
from tests.proof.stage.faults import restart
from tests.proof.stage.scenario import Scenario, Sharing, Step
from tests.proof.stage.stage import NODE, Stage, now_ms
from tests.proof.stage.workloads import manifest, path_of
from tests.proof.witness.testimony import Plan

RUNS_WITHIN_S = 60.0
CUT_WITHIN_MS = 1_000  # what is under way when the wire is cut may still come through


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A scenario on a stage. Its namespaces carry its name, so that no two scenarios of a pass share one."""

    stage: Stage
    scenario: Scenario

    def namespace(self, name: str) -> str:
        return f"{self.scenario.name}-{name}"

    def do(self, step: Step) -> None:
        """Returns when it is done; what lasts, such as a load, goes on."""
        ACTIONS[type(step)](self, step)

    def running(self, workload: str, namespace: str, container: str) -> list[tuple[str, Container]]:
        """The running containers of this name of a workload's pods, by pod; once there is one."""
        found: list[tuple[str, Container]] = []

        def some() -> bool:
            found[:] = _running(self.stage, self.namespace(namespace), workload, container)
            return bool(found)

        wait_for(f"{namespace}/{workload}/{container} runs", some, RUNS_WITHIN_S)
        return found


def _running(stage: Stage, namespace: str, workload: str, container: str) -> list[tuple[str, Container]]:
    found = []
    for pod in stage.pods(namespace, workload):
        status = pod["status"]
        for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            if (
                each["name"] == container
                and "running" in each["state"]
                and "deletionTimestamp" not in pod["metadata"]
            ):
                made = stage.node.container_of(each["containerID"].removeprefix("containerd://"))
                found += [(str(pod["metadata"]["name"]), made)] if made else []
    return found


def _apply(scene: Scene, step: steps.Apply) -> None:
    path, wanted = path_of(step.kind, scene.namespace(step.namespace)), manifest(step)
    there = step.kind == "deployment" and any(
        each["metadata"]["name"] == step.name for each in scene.stage.call("GET", path)["items"]
    )
    if there:
        scene.stage.merge(f"{path}/{step.name}", wanted)
    else:
        scene.stage.call("POST", path, wanted)


def _delete(scene: Scene, step: steps.Delete) -> None:
    options: dict[str, Any] = {"propagationPolicy": "Background"}
    if step.now:
        options["gracePeriodSeconds"] = 0
    path = f"{path_of(step.kind, scene.namespace(step.namespace))}/{step.name}"
    scene.stage.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})


def _kill(scene: Scene, step: steps.Kill) -> None:
    for _, container in scene.running(step.name, step.namespace, step.container):
        os.kill(container.pid, signal.SIGKILL)


def _load(scene: Scene, step: steps.Load) -> None:
    """By the youngest process of the container: its worker, not the shell that waits for it."""
    for pod, container in scene.running(step.name, step.namespace, step.container):
        worker = scene.stage.node.cgroups.pids(container.container_id)[-1]
        for device in sorted(container.visible_devices):
            scene.stage.driver.begin(
                Work(
                    device=device, pid=worker, node_pid=node_pid(worker), sm=step.sm, memory_mib=step.memory_mib,
                    watts=step.watts, until_s=time.monotonic() + step.seconds,
                    namespace=scene.namespace(step.namespace), pod=pod, container=step.container,
                )
            )  # fmt: skip


def _intrude(scene: Scene, step: steps.Intrude) -> None:
    devices = {
        device
        for _, container in scene.running(step.name, step.namespace, step.container)
        for device in container.visible_devices
    }
    with _host_process(scene.stage) as pid:
        for device in sorted(devices):
            scene.stage.driver.begin(
                Work(
                    device=device, pid=pid, node_pid=node_pid(pid), sm=step.sm, memory_mib=step.memory_mib,
                    watts=step.watts, until_s=time.monotonic() + step.seconds,
                )
            )  # fmt: skip
        time.sleep(step.seconds)


@contextmanager
def _host_process(stage: Stage) -> Iterator[int]:
    """A process of the node that is in no container, by its pid on the machine."""
    daemon = stage.node.sandbox.daemon(["sleep", "1000"], stage.plane.folder / "intruders.log")

    def children() -> list[str]:
        return Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()

    with daemon:
        wait_for("the process runs", children)
        yield int(children()[0])


def _mig(scene: Scene, step: steps.Mig) -> None:
    """As a MIG manager does it: the plugin begins anew on what the cards are then."""
    scene.stage.driver.cut(step.card, step.profiles)
    scene.stage.plugin.offer(scene.stage.plugin.sharing)


def _replicas(scene: Scene, step: steps.Replicas) -> None:
    scene.stage.plugin.offer(Sharing(replicas=step.replicas, renamed=step.renamed))


def _label(scene: Scene, step: steps.Label) -> None:
    path = f"/api/v1/namespaces/{scene.namespace(step.namespace)}"
    scene.stage.merge(path, {"metadata": {"labels": dict(step.labels)}})


def _reprice(scene: Scene, step: steps.Reprice) -> None:
    scene.stage.tell(scene.stage.books.reprice(step.prices))


def _quota(scene: Scene, step: steps.Quota) -> None:
    """Once a pod of a Deployment waits for it: else it would say nothing."""
    deployments = path_of("deployment", scene.namespace(step.namespace))
    wait_for(
        f"a pod waits for a quota of {step.hard} in {step.namespace}",
        lambda: any(map(_is_held_back, scene.stage.call("GET", deployments)["items"])),
    )
    path = f"/api/v1/namespaces/{scene.namespace(step.namespace)}/resourcequotas/gpus"
    scene.stage.merge(path, {"spec": {"hard": {f"requests.{steps.GPU}": str(step.hard)}}})


def _is_held_back(deployment: dict[str, Any]) -> bool:
    """A quota has refused a pod of it."""
    return any(
        each["type"] == "ReplicaFailure" and each["status"] == "True" and "exceeded quota" in each["message"]
        for each in deployment["status"].get("conditions", ())
    )


def _guarantee(scene: Scene, step: steps.Guarantee) -> None:
    told: Plan = scene.stage.books.plan(scene.namespace(step.namespace), step.plan)
    scene.stage.tell(told)


def _lose(scene: Scene, step: steps.Lose) -> None:
    scene.stage.driver.lose(step.card)


def _recover(scene: Scene, step: steps.Recover) -> None:
    scene.stage.driver.recover(step.card)


def _restart(scene: Scene, step: steps.Restart) -> None:
    restart(scene.stage, step.part, step.down)


def _cut(scene: Scene, step: steps.Cut) -> None:
    scene.stage.wire.cut()
    scene.stage.cut_ms = now_ms()


def _mend(scene: Scene, step: steps.Mend) -> None:
    """Raises AssertionError where something has come through meanwhile."""
    heard_ms = scene.stage.aggregator.through_ms(NODE) - scene.stage.cut_ms
    scene.stage.wire.mend()
    assert heard_ms <= CUT_WITHIN_MS, f"the aggregator has heard what was {heard_ms} ms after the wire was cut"


ACTIONS: dict[type[Step], Callable[[Scene, Any], None]] = {
    steps.Apply: _apply,
    steps.Delete: _delete,
    steps.Kill: _kill,
    steps.Load: _load,
    steps.Intrude: _intrude,
    steps.Mig: _mig,
    steps.Replicas: _replicas,
    steps.Label: _label,
    steps.Reprice: _reprice,
    steps.Quota: _quota,
    steps.Guarantee: _guarantee,
    steps.Lose: _lose,
    steps.Recover: _recover,
    steps.Restart: _restart,
    steps.Cut: _cut,
    steps.Mend: _mend,
}
