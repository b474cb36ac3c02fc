"""Fill a cluster through its API, by many calls at once: nodes with GPUs, namespaces with quotas, pods."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.cluster.control_plane import ADMIN_TOKEN, ControlPlane
from tests.cluster.kwok import MANAGED
from tests.programs import wait_for

# Quota admission has five workers and gives up after ten seconds: more at once would only wait for it.
CALLS_AT_ONCE = 24
TRIES = 12
WAIT_MOST_S = 5.0
GPU, MIG = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"
MIG_SLICES = 7  # of the one card in MIG mode that every tenth node has
WITHIN_S = 600.0
# Of a pod's status, what a kubelet says of one that runs.
RUNNING = {
    "phase": "Running",
    "hostIP": "127.0.0.1",
    "podIP": "10.0.0.1",
    "startTime": "2026-01-01T00:00:00Z",
    "conditions": [
        {"type": each, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for each in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ],
    "containerStatuses": [
        {
            "name": "main",
            "image": "registry.example/train:1.4.2",
            "imageID": "registry.example/train@sha256:" + "0" * 64,
            "containerID": "containerd://" + "0" * 64,
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }
    ],
}

Call = tuple[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much of everything. gpus: of a node; each tenth node has one of them in MIG mode."""

    nodes: int
    pods: int
    namespaces: int
    gpus: int = 8

    def names(self) -> list[str]:
        """Of the namespaces."""
        return [f"team-{number:03}" for number in range(self.namespaces)]

    def node_calls(self) -> Iterator[Call]:
        for number in range(self.nodes):
            has_mig = number % 10 == 9
            offered = {
                "cpu": "128",
                "memory": "1Ti",
                "pods": "110",
                GPU: str(self.gpus - has_mig),
                **({MIG: str(MIG_SLICES)} if has_mig else {}),
            }
            yield (
                "/api/v1/nodes",
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {
                        "name": f"gpu-{number:04}",
                        "annotations": MANAGED,
                        "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "type": "kwok"},
                    },
                    "status": {"capacity": offered, "allocatable": offered},
                },
            )

    def namespace_calls(self) -> Iterator[Call]:
        for number, name in enumerate(self.names()):
            labels = {
                "team": name,
                "cost-center": f"cc-{number % 20:03}",
                "gpu-tier": ("critical", "batch")[number % 2],
            }
            yield (
                "/api/v1/namespaces",
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
            )

    def quota_calls(self) -> Iterator[Call]:
        """Two quotas a namespace: keys that Kubernetes counts, and one that it stores and ignores."""
        gpus = str(self.nodes * self.gpus)
        for name in self.names():
            yield quota(name, "gpus", {f"requests.{GPU}": gpus, f"limits.{GPU}": gpus, f"requests.{MIG}": "1000"})
            yield quota(name, "counts", {"pods": "5k", f"requests.{GPU}": gpus, "requests.cpu": "100k"})

    def pod_calls(self) -> Iterator[Call]:
        """Spread over the namespaces: most ask for one GPU, each fourth for two, each twentieth for a MIG slice."""
        names = self.names()
        for number in range(self.pods):
            resource, count = (MIG, 1) if number % 20 == 19 else (GPU, 1 + (number % 4 == 0))
            yield pod(names[number % len(names)], f"pod-{number:05}", {resource: str(count)})


def quota(namespace: str, name: str, hard: dict[str, str]) -> Call:
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}
    return f"/api/v1/namespaces/{namespace}/resourcequotas", body


def pod(namespace: str, name: str, gpus: dict[str, str], **fields: Any) -> Call:
    """A pod as one would write it, with what nodes of a test cluster want of it."""
    asked = {"cpu": "4", "memory": "16Gi"} | gpus
    container = {
        "name": "main",
        "image": "registry.example/train:1.4.2",
        "command": ["python", "-m", "train", "--config", "/etc/train/config.yaml"],
        "env": [{"name": "RUN", "value": name}, {"name": "NCCL_DEBUG", "value": "INFO"}],
        "resources": {"limits": asked, "requests": asked},
    }
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "train", "run": name}},
        # The API server taints every new node, and no controller of a test cluster takes that away.
        "spec": {"containers": [container], "tolerations": [{"operator": "Exists"}], **fields},
    }
    return f"/api/v1/namespaces/{namespace}/pods", body


def create_all(plane: ControlPlane, calls: Iterable[Call]) -> None:
    """Create objects, many at once, in no order. Raises AssertionError at the first that is refused for good."""
    asyncio.run(_send_all(plane, "POST", calls))


def patch_all(plane: ControlPlane, calls: Iterable[Call]) -> None:
    """As create_all, with merge patches."""
    asyncio.run(_send_all(plane, "PATCH", calls))


def delete_all(plane: ControlPlane, paths: Iterable[str]) -> None:
    """As create_all: delete at once, without a grace period."""
    asyncio.run(_send_all(plane, "DELETE", ((f"{path}?gracePeriodSeconds=0", None) for path in paths)))


def fill(plane: ControlPlane, load: Load) -> None:
    """Make all of it; on return every pod is admitted, but need not run yet."""
    create_all(plane, load.node_calls())
    create_all(plane, load.namespace_calls())
    create_all(plane, load.quota_calls())
    # Before the controller has written a quota's status, the API server admits no pod that it would count.
    wait_for("every quota's status", lambda: all("used" in found["status"] for found in quotas(plane)), WITHIN_S)
    create_all(plane, load.pod_calls())


def wait_running(plane: ControlPlane) -> None:
    """Wait until there is no pod that does not run. kwok starts a pod once it is bound."""
    others = "/api/v1/pods?fieldSelector=status.phase%21%3DRunning&limit=1"

    def running() -> bool:
        waiting = plane.call("GET", others)["items"]
        if waiting:
            time.sleep(0.5)
        return not waiting

    wait_for("all pods running", running, WITHIN_S)


def quotas(plane: ControlPlane) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plane.call("GET", "/api/v1/resourcequotas")["items"]
    return found


async def _send_all(plane: ControlPlane, method: str, calls: Iterable[Call]) -> None:
    waiting = iter(calls)
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": kind}
    connector = aiohttp.TCPConnector(limit=CALLS_AT_ONCE, ssl=False)
    async with aiohttp.ClientSession(plane.url, connector=connector, headers=headers) as session:

        async def work() -> None:
            for path, body in waiting:
                await _send(session, method, path, body)

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS_AT_ONCE):
                group.create_task(work())


async def _send(session: aiohttp.ClientSession, method: str, path: str, body: Any) -> None:
    """On a busy machine quota admission gives up with 409 or 5xx, which means: try again. It may have made it."""
    data = None if body is None else json.dumps(body)
    for attempt in range(TRIES):
        async with session.request(method, path, data=data) as answer:
            text = await answer.text()
        is_there = "already exists" in text
        if answer.status < 300 or (attempt and is_there):
            return
        again = answer.status in (409, 429, 500, 504) and not is_there
        assert again, f"{method} {path}: {answer.status}: {text[:500]}"
        await asyncio.sleep(min(0.2 * 2**attempt, WAIT_MOST_S))
    raise AssertionError(f"{method} {path}: {answer.status} after {TRIES} tries: {text[:500]}")
