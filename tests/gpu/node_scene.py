"""What befalls a real node around a real card in `record_node.py`: pods, their kernels, shares, a stranger."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pynvml

from tests.cluster import binaries, device_plugin
from tests.cluster.control_plane import ControlPlane, Refused
from tests.cluster.daemon import Daemon
from tests.cluster.lab import now_ms
from tests.cluster.node import RUNTIME_SOCKET, Container, Node
from tests.cluster.shipped_agent import PREFIX, ROOT, outermost
from tests.gpu.work import CUDA, Work
from tests.programs import wait_for
from tests.proof.witness.testimony import HOST, Card, Load, Mig, Power, Told

CARD = "nvidia.com/gpu"
POWER_S, POWER_STEP_WATTS = 0.5, 10
# What a container finds of the machine: Python, the driver's libraries, and this checkout.
MOUNTED = outermost(Path("/usr"), Path(sys.base_prefix).resolve(), PREFIX, ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silicon:
    """The first card."""

    uuid: str
    model: str
    driver: str
    handle: Any

    def watts(self) -> int:
        return round(pynvml.nvmlDeviceGetPowerUsage(self.handle) / 1000)

    def memory_mib(self, pid: int) -> int:
        """What the process takes there, with its context."""
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(self.handle)
        return int(next(each.usedGpuMemory for each in running if each.pid == pid)) >> 20


@contextmanager
def silicon() -> Iterator[Silicon]:
    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        yield Silicon(
            uuid=pynvml.nvmlDeviceGetUUID(handle),
            model=pynvml.nvmlDeviceGetName(handle),
            driver=pynvml.nvmlSystemGetDriverVersion(),
            handle=handle,
        )
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def real_plugin(node: Node) -> Iterator[Daemon]:
    """NVIDIA's device plugin over the real driver, and device files for who gets a card: it offers one on entry."""
    program = binaries.find("nvidia-device-plugin")
    assert program is not None, binaries.HOW
    folder = node.plane.folder
    environment = {"DP_DISABLE_HEALTHCHECKS": "all"}
    command = [str(program), "--config-file", str(folder / "device-plugin.json")]
    daemon = node.sandbox.daemon(command, folder / "device-plugin.log", env=environment)
    write_plugin_settings(node, 1)
    with daemon:
        device_plugin.wait_offered(node, daemon, {CARD: 1})
        yield daemon


def write_plugin_settings(node: Node, shares: int) -> None:
    settings = device_plugin.settings({CARD: shares} if shares > 1 else {}, device_files=True)
    (node.plane.folder / "device-plugin.json").write_text(json.dumps(settings))


class Scene:
    """A node that is being recorded. On leaving all work has ended. tell: what the witness is told."""

    def __init__(
        self, plane: ControlPlane, node: Node, card: Silicon, plugin: Daemon, tell: Callable[[Told], None]
    ) -> None:
        self._plane, self._node, self._card, self._plugin, self._tell = plane, node, card, plugin, tell
        self._works: dict[tuple[str, str], tuple[Work, Load]] = {}
        self._ended = threading.Event()
        self._power = threading.Thread(target=self._watch_power, name="power")
        self._number = itertools.count()

    def __enter__(self) -> Self:
        self._tell(Card(at_ms=now_ms(), gpu=self._card.uuid, model=self._card.model))
        self._tell(Mig(at_ms=now_ms(), gpu=self._card.uuid, slices=None))
        self._power.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for namespace, pod in list(self._works):
            self._end(namespace, pod)
        self._ended.set()
        self._power.join()

    def start(self, namespace: str, pod: str) -> None:
        """A pod with one device, that waits for work."""
        self._node.start_pod(namespace, pod, _container("1000"), volumes=_volumes())

    def job(self, namespace: str, name: str, seconds: int) -> None:
        """One device for so long, and no work."""
        self._node.start_job(namespace, name, _container(str(seconds), mounts=False))

    def open(self, namespace: str, pod: str, memory_mib: int) -> None:
        """A process in the pod's container opens the card and takes memory there."""
        container = self._running(namespace, pod)
        before = set(self._node.cgroups.pids(container.container_id))
        inside = self._node.sandbox.inside(
            [
                *("ctr", "--address", RUNTIME_SOCKET, "-n", "k8s.io", "tasks", "exec"),
                *("--exec-id", f"work-{next(self._number)}", "--cwd", str(ROOT), container.container_id),
            ]
        )
        work = Work(*inside)
        work.do("open")
        (pid,) = set(self._node.cgroups.pids(container.container_id)) - before
        self._take(namespace, pod, "main", pid, work, memory_mib)

    def busy(self, namespace: str, pod: str, seconds: float, percent: int) -> None:
        """It runs kernels for so long, so much of the time; returns when it has."""
        work, load = self._works[namespace, pod]
        self._tell(replace(load, at_ms=now_ms(), sm_percent=percent))
        answer = work.do("busy", seconds, percent / 100)
        self._tell(replace(load, at_ms=answer["until_ms"]))
        print(f"{namespace}/{pod}: {answer}", flush=True)

    def intrude(self, seconds: float, percent: int) -> None:
        """A process of the host's works on the card, and ends."""
        work = Work()
        work.do("open")
        self._take(HOST, "", "", work.process.pid, work, 512)
        self.busy(HOST, "", seconds, percent)
        self._end(HOST, "")

    def label(self, namespace: str, cost_center: str) -> None:
        labels = {"cost-center": cost_center}
        self._plane.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})

    def delete(self, namespace: str, pod: str) -> None:
        if (namespace, pod) in self._works:
            self._end(namespace, pod)
        self._plane.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod}")

    def share(self, shares: int) -> None:
        """The plugin begins anew, and offers the card in so many shares."""
        self._plugin.stop()
        write_plugin_settings(self._node, shares)
        self._plugin.start()
        device_plugin.wait_offered(self._node, self._plugin, {CARD: shares})

    def _take(self, namespace: str, pod: str, container: str, pid: int, work: Work, memory_mib: int) -> None:
        work.do("take", memory_mib)
        load = Load(
            at_ms=now_ms(), device=self._card.uuid, pid=pid, namespace=namespace, pod=pod, container=container,
            memory_mib=self._card.memory_mib(pid),
        )  # fmt: skip
        self._works[namespace, pod] = work, load
        self._tell(load)

    def _end(self, namespace: str, pod: str) -> None:
        """At once, as an out-of-memory kill does."""
        work, load = self._works.pop((namespace, pod))
        with suppress(ProcessLookupError):
            os.kill(load.pid, signal.SIGKILL)
        self._tell(replace(load, at_ms=now_ms(), over=True))
        work.__exit__()

    def _running(self, namespace: str, pod: str) -> Container:
        """Its container, once it runs."""
        found: list[Container] = []

        def look() -> bool:
            with suppress(Refused):
                container = self._node.container(namespace, pod, "main")
                found.extend([container] if container else [])
            return bool(found)

        wait_for(f"{namespace}/{pod} runs", look)
        return found[0]

    def _watch_power(self) -> None:
        told = 0
        while not self._ended.wait(POWER_S):
            watts = self._card.watts()
            if abs(watts - told) >= POWER_STEP_WATTS:
                told = watts
                self._tell(Power(at_ms=now_ms(), gpu=self._card.uuid, watts=watts))


def _container(seconds: str, *, mounts: bool = True) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": "main",
        "command": ["sleep", seconds],
        "resources": {"limits": {CARD: 1}},
        "env": [
            {"name": "LD_LIBRARY_PATH", "value": str(driver_folder())},
            {"name": "CUDA_CACHE_DISABLE", "value": "1"},
        ],
    }
    if mounts:
        made["volumeMounts"] = [
            {"name": f"machine-{number}", "mountPath": str(path), "readOnly": True}
            for number, path in enumerate(MOUNTED)
        ]
    return made


def _volumes() -> list[dict[str, Any]]:
    return [{"name": f"machine-{number}", "hostPath": {"path": str(path)}} for number, path in enumerate(MOUNTED)]


@cache
def driver_folder() -> Path:
    """Where the loader finds CUDA's library."""
    ctypes.CDLL(CUDA)
    maps = Path("/proc/self/maps").read_text().splitlines()
    return Path(next(line.split(maxsplit=5)[5] for line in maps if "/libcuda.so" in line)).parent
