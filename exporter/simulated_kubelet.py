"""The kubelet of a simulated node: a PodResources server on a real unix socket, for the demo and for trials.

It is served by grpcio (gpu-chargeback[demo]), so that the agent's own client meets a server that is not its own.

An agent that simulates the same node and is given this socket reads its holders through the real door:

    python -m exporter.simulated_kubelet --node n1 --socket /tmp/n1.sock scenario.yaml
    gpu-exporter --node n1 --simulate scenario.yaml --kubelet-socket /tmp/n1.sock
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc

from exporter import podresources_pb2 as v1
from exporter.clock import SystemClock
from exporter.collectors.holdings import HoldingSource
from exporter.reading import Allocation
from exporter.sources import NothingToRead, simulated_node

# An agent makes two calls a beat; nobody else has the socket.
THREADS = 2


@contextmanager
def serving(node: HoldingSource, socket_path: Path) -> Iterator[None]:
    """Answer List and GetAllocatableResources as a kubelet of 1.35 does: one entry for each device id, no UID."""

    def answer_list(request: Any, context: grpc.ServicerContext) -> Any:
        return v1.ListPodResourcesResponse(pod_resources=_pods(_ask(node, context).allocations))

    def answer_allocatable(request: Any, context: grpc.ServicerContext) -> Any:
        return v1.AllocatableResourcesResponse(devices=[_device(*offer) for offer in _ask(node, context).offered])

    handlers = {
        "List": _handler(answer_list, v1.ListPodResourcesRequest),
        "GetAllocatableResources": _handler(answer_allocatable, v1.AllocatableResourcesRequest),
    }
    threads = futures.ThreadPoolExecutor(THREADS)
    server = grpc.server(threads)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1.PodResourcesLister", handlers),))
    server.add_insecure_port(f"unix:{socket_path}")
    server.start()
    try:
        yield
    finally:
        server.stop(grace=None).wait()
        threads.shutdown()


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit codes: 0 ended as asked; 2 there is no such scenario."""
    parser = argparse.ArgumentParser(prog="python -m exporter.simulated_kubelet", description=main.__doc__)
    parser.add_argument("scenario", metavar="FILE", help="the scenario, or `default`")
    parser.add_argument("--node", required=True, metavar="NAME", help="name of the node, as the agent has it")
    parser.add_argument("--socket", required=True, type=Path, metavar="PATH", help="where to listen")
    flags = parser.parse_args(argv)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stop.set())
    try:
        node = simulated_node(flags.scenario, node=flags.node, clock=SystemClock())
    except NothingToRead as error:
        print(error, file=sys.stderr)  # noqa: T201 - for people
        return 2
    with serving(node, flags.socket):
        stop.wait()
    return 0


def _handler(answer: Any, request: Any) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=request.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


def _ask(node: HoldingSource, context: grpc.ServicerContext) -> Any:
    try:
        return node.list_pods()
    except ConnectionError as error:  # the scenario has the kubelet down just now
        context.abort(grpc.StatusCode.UNAVAILABLE, str(error))


def _pods(allocations: tuple[Allocation, ...]) -> Iterator[Any]:
    for (namespace, pod), of_pod in groupby(sorted(allocations, key=_pod), key=_pod):
        containers = groupby(of_pod, key=lambda each: each.container)
        yield v1.PodResources(
            namespace=namespace,
            name=pod,
            containers=[
                v1.ContainerResources(name=name, devices=[_device(each.resource, each.device_id) for each in devices])
                for name, devices in containers
            ],
        )


def _pod(each: Allocation) -> tuple[str, str]:
    return each.namespace, each.pod


def _device(resource: str, device_id: str) -> Any:
    return v1.ContainerDevices(resource_name=resource, device_ids=[device_id])


if __name__ == "__main__":
    sys.exit(main())
