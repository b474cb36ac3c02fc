"""The door to the kubelet's PodResources socket: who holds which device on this node. The call is `unary_call.py`'s.

The kubelet names pods, containers and device ids, and never a pod's UID. Ids go out verbatim;
`device_ids.py` takes them apart.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.device_ids import looks_like_gpu
from exporter.reading import Allocation, KubeletReading

if TYPE_CHECKING:
    from exporter.unary_call import Connection

SOCKET_PATH = Path("/var/lib/kubelet/pod-resources/kubelet.sock")

# gRPC's own limit is 4 MiB, and the kubelet names every pod of the node, also those without devices, and every share
# of every device: 56 MIG devices in 1,000 shares each are more than that. 64 MiB no sound node reaches, and a broken
# kubelet cannot fill the node's memory through us.
ANSWER_MAX_BYTES = 64 * 1024 * 1024

# The kubelet serves 100 requests a second to all its clients together, ten at once, and refuses the rest: the
# bucket refills in a tenth of a second. Whoever is still refused after three tries leaves it to the next beat.
TRIES_MAX = 3
RETRY_AFTER_S = 0.1

# NVIDIA's DRA driver for GPUs. Its sister compute-domain.nvidia.com hands out channels between nodes, not cards.
GPU_DRIVERS = frozenset({"gpu.nvidia.com"})

_ADVICE = {
    "UNAVAILABLE": "check that the kubelet runs, that the agent runs as root, and that the socket's directory is "
    "mounted (the directory: a restart of the kubelet replaces the socket)",
    "DEADLINE_EXCEEDED": "the kubelet hangs or the node is overloaded: look at the kubelet's log",
    "RESOURCE_EXHAUSTED": "find the client that uses up the kubelet's 100 requests a second; or, where the size is "
    f"meant, know that the agent takes {ANSWER_MAX_BYTES} bytes",
    "UNIMPLEMENTED": "the agent needs Kubernetes 1.28 or later",
}


class KubeletError(Exception):
    """The kubelet gave no answer. Says which socket, what happened and what to do."""


class Kubelet:
    """A client of one socket, for one thread at a time. It connects for each reading: a restart goes unnoticed."""

    def __init__(self, socket_path: Path = SOCKET_PATH, *, timeout_s: float = 5.0) -> None:
        """timeout_s: the longest that one call may take; a reading makes two."""
        self._socket_path = socket_path
        self._timeout_s = timeout_s

    def list_pods(self) -> KubeletReading:
        """Ask who holds what and what there is to hold. Raises KubeletError."""
        # Here and not at the top of the file: protobuf and h2 take 3 MiB, and the agent that simulates its node
        # never opens a socket.
        from exporter import podresources_pb2 as v1
        from exporter.unary_call import CallError, connected

        method = "List"
        try:
            with connected(
                self._socket_path, timeout_s=self._timeout_s, answer_max_bytes=ANSWER_MAX_BYTES
            ) as connection:
                pods = self._call(connection, method, v1.ListPodResourcesRequest(), v1.ListPodResourcesResponse)
                method = "GetAllocatableResources"
                all_devices = self._call(
                    connection, method, v1.AllocatableResourcesRequest(), v1.AllocatableResourcesResponse
                )
        except CallError as error:
            raise KubeletError(self._complaint(method, error.code, error.details)) from error
        # A kubelet before 1.34 may list a finished pod beside its successor of the same name: one holder, once.
        return KubeletReading(
            allocations=tuple(dict.fromkeys(_allocations(pods))),
            offered=tuple(dict.fromkeys(_gpus(all_devices.devices))),
        )

    def _call(self, connection: Connection, method: str, request: Any, answer: Any) -> Any:
        """Raises CallError."""
        from google.protobuf.message import DecodeError

        from exporter.unary_call import CallError

        tries = 0
        while True:
            tries += 1
            try:
                data = connection.call(
                    f"/v1.PodResourcesLister/{method}", request.SerializeToString(), timeout_s=self._timeout_s
                )
                return answer.FromString(data)
            except DecodeError as error:
                raise CallError("INTERNAL", f"an answer that is no {answer.DESCRIPTOR.name}: {error}") from error
            except CallError as error:
                if error.code != "RESOURCE_EXHAUSTED" or tries == TRIES_MAX:
                    raise
            # Uneven, so that clients refused together do not come back together.
            time.sleep(RETRY_AFTER_S * random.uniform(0.5, 1.5))

    def _complaint(self, method: str, code: str, details: str) -> str:
        advice = _ADVICE.get(code, "look at the kubelet's log")
        return f"{self._socket_path}: {method} failed with {code} ({details}): {advice}"


def _allocations(pods: Any) -> Iterator[Allocation]:
    """One allocation for each GPU-like device of each container, sidecars included, in the kubelet's order."""
    for pod in pods.pod_resources:
        for container in pod.containers:
            holder = {"namespace": pod.namespace, "pod": pod.name, "container": container.name}
            for resource, device_id in _gpus(container.devices):
                yield Allocation(**holder, resource=resource, device_id=device_id)
            for claimed in container.dynamic_resources:
                claim = f"{claimed.claim_namespace}/{claimed.claim_name}"
                for driver, device_id in _claimed_gpus(claimed.claim_resources):
                    yield Allocation(**holder, resource=driver, device_id=device_id, source="dra", claim=claim)


def _gpus(devices: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """(resource, device id) of what is NVIDIA's by the resource's name or by the look of the id.

    Several entries of one resource with one id each are as usual as one entry with several ids.
    """
    for entry in devices:
        for device_id in entry.device_ids:
            if entry.resource_name.startswith("nvidia.com/") or looks_like_gpu(device_id):
                yield entry.resource_name, device_id


def _claimed_gpus(resources: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """(driver, driver/pool/device). Never by CDI name: Kubernetes 1.36 lists those of earlier devices again."""
    for device in resources:
        if device.driver_name in GPU_DRIVERS:
            yield device.driver_name, f"{device.driver_name}/{device.pool_name}/{device.device_name}"
