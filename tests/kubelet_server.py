"""A kubelet's PodResources server on a real unix socket, whose answers a test sets.

It answers as a kubelet of 1.35 does: one entry for each device id, pods without devices listed too, no UID.

    with PodResourcesServer(path) as server:
        server.give("team-a", "train-0", "main", "nvidia.com/gpu", ["GPU-…"])
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, Self

import grpc

from exporter import podresources_pb2 as v1


class PodResourcesServer:
    """Serves from entering the context until leaving it; what was set stays, so it can be entered again."""

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path
        self.calls: list[str] = []
        """Names of the methods called, in order, the refused ones too."""
        self._lock = threading.Lock()
        self._pods: dict[tuple[str, str], v1.PodResources] = {}
        self._offered: list[tuple[str, str]] = []
        self._failure: grpc.StatusCode | None = None
        self._failures_left: int | None = None
        self._answer_after_s = 0.0

    def give(self, namespace: str, pod: str, container: str, resource: str = "", ids: Sequence[str] = ()) -> None:
        """List a container as holding more devices; without any, list it as one that holds none."""
        with self._lock:
            found = self._container(namespace, pod, container)
            found.devices.extend(v1.ContainerDevices(resource_name=resource, device_ids=[id]) for id in ids)

    def claim(
        self,
        namespace: str,
        pod: str,
        container: str,
        claim: str,
        device: str,
        *,
        driver: str = "gpu.nvidia.com",
        pool: str = "node-1",
        cdi: Sequence[str] = (),
    ) -> None:
        """Give a device by DRA, through a ResourceClaim of the pod's namespace."""
        with self._lock:
            found = self._container(namespace, pod, container)
            resource = v1.ClaimResource(
                driver_name=driver,
                pool_name=pool,
                device_name=device,
                cdi_devices=[v1.CDIDevice(name=name) for name in cdi],
            )
            found.dynamic_resources.append(
                v1.DynamicResource(claim_name=claim, claim_namespace=namespace, claim_resources=[resource])
            )

    def take(self, namespace: str, pod: str) -> None:
        """The pod has ended, with all its containers."""
        with self._lock:
            del self._pods[namespace, pod]

    def offer(self, resource: str, ids: Sequence[str]) -> None:
        """Set all the device ids of a resource that a pod could be given; none withdraws it."""
        with self._lock:
            self._offered = [pair for pair in self._offered if pair[0] != resource]
            self._offered += [(resource, id) for id in ids]

    def fail(self, code: grpc.StatusCode, *, times: int | None = None) -> None:
        """Answer the next calls with an error: so many of them, or all until `heal`."""
        with self._lock:
            self._failure, self._failures_left = code, times

    def heal(self) -> None:
        """Answer again, and at once."""
        with self._lock:
            self._failure, self._answer_after_s = None, 0.0

    def slow_down(self, seconds: float) -> None:
        """Answer each call only after so long."""
        with self._lock:
            self._answer_after_s = seconds

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._threads = futures.ThreadPoolExecutor(max_workers=4)
        self._server = grpc.server(self._threads)
        methods = {
            "List": (v1.ListPodResourcesRequest, self._list),
            "GetAllocatableResources": (v1.AllocatableResourcesRequest, self._allocatable),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                answer,
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, (request, answer) in methods.items()
        }
        service = grpc.method_handlers_generic_handler("v1.PodResourcesLister", handlers)
        self._server.add_generic_rpc_handlers((service,))
        self._server.add_insecure_port(f"unix:{self.socket_path}")
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._server.stop(grace=None).wait()
        self._threads.shutdown()

    def _list(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("List", context)
        with self._lock:
            return v1.ListPodResourcesResponse(pod_resources=self._pods.values())

    def _allocatable(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._begin("GetAllocatableResources", context)
        with self._lock:
            return v1.AllocatableResourcesResponse(
                devices=[
                    v1.ContainerDevices(resource_name=resource, device_ids=[id]) for resource, id in self._offered
                ]
            )

    def _begin(self, method: str, context: grpc.ServicerContext) -> None:
        """What happens to every call before its answer: it is noted, delayed and perhaps refused."""
        with self._lock:
            self.calls.append(method)
            failure, answer_after_s = self._failure, self._answer_after_s
            if failure is not None and self._failures_left is not None:
                self._failures_left -= 1
                if self._failures_left == 0:
                    self._failure = None
        self._stopping.wait(answer_after_s)
        if failure is grpc.StatusCode.RESOURCE_EXHAUSTED:
            context.abort(failure, "rejected by rate limit")
        if failure is not None:
            context.abort(failure, "as the test wants it")

    def _container(self, namespace: str, pod: str, container: str) -> Any:
        known = self._pods.setdefault((namespace, pod), v1.PodResources(name=pod, namespace=namespace))
        for found in known.containers:
            if found.name == container:
                return found
        return known.containers.add(name=container)
