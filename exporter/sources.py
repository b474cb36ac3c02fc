"""Opens what the agent looks through: NVML, the kubelet and /proc of a real node, or a simulated one.

Imports of the real doors are here and late: a simulated node needs neither NVML nor gRPC, and a real one no YAML.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, TypeVar

from exporter.clock import Clock
from exporter.collectors.gpus import Gpus, GpuSource
from exporter.collectors.holdings import Holdings, HoldingSource
from exporter.collectors.node import Collectors
from exporter.collectors.processes import OwnerSource, Processes
from exporter.config import DEFAULT_SCENARIO, Settings
from exporter.kubelet import SOCKET_PATH
from exporter.worker import Calls, DirectCalls, Worker

# A wedged call takes a beat's time, and the next beat must still come before the last sight has ceased to hold.
DEADLINE_MIN_S, DEADLINE_MAX_S = 2.0, 15.0
# Without persistence mode the driver starts each card when it is opened, which takes it some seconds.
OPEN_WITHIN_S = 60.0

T = TypeVar("T")


class NothingToRead(Exception):
    """There is no node to look at: says what is missing and what to do."""


class WholeNode(GpuSource, HoldingSource, OwnerSource, Protocol):
    """A simulated node is all three sources at once."""


def open_collectors(settings: Settings, clock: Clock) -> Collectors:
    """The collectors of the node that the settings name. Raises NothingToRead."""
    if settings.simulate or settings.replay:
        return _open_simulated(settings, clock)
    return _open_real(settings, clock)


def simulated_node(scenario: str, *, node: str, clock: Clock) -> WholeNode:
    """scenario: a file, or the name of the default one. Raises NothingToRead."""
    from exporter.scenario import ScenarioError, default_scenario, load_scenario
    from exporter.simulated import SimulatedNode

    try:
        if scenario in ("", DEFAULT_SCENARIO):
            return SimulatedNode(default_scenario(node=node), clock=clock)
        text = Path(scenario).read_text(encoding="utf-8")
        return SimulatedNode(load_scenario(text, scenario, node=node), clock=clock)
    except (OSError, UnicodeDecodeError) as error:
        raise NothingToRead(f"--simulate={scenario!r}: {error}: want a readable scenario file") from error
    except ScenarioError as error:
        raise NothingToRead(str(error)) from error


def _open_simulated(settings: Settings, clock: Clock) -> Collectors:
    """A simulated node; its holders come from a socket where one is named (`exporter/simulated_kubelet.py`)."""
    node = simulated_node(settings.simulate, node=settings.node, clock=clock)
    holdings, names_in_threads = Holdings(node), set[str]()
    if settings.kubelet_socket != SOCKET_PATH and not settings.replay:
        kubelet = _kubelet(settings)
        holdings, names_in_threads = Holdings(kubelet(), reopen=kubelet), {Holdings.name}

    def calls(name: str) -> Calls:
        return Worker(name) if name in names_in_threads else DirectCalls()

    return Collectors(
        Gpus(node), holdings, Processes(node), calls=calls, clock=clock, deadline_s=_deadline_s(settings)
    )


def _kubelet(settings: Settings) -> Callable[[], HoldingSource]:
    from exporter.kubelet import Kubelet

    # A reading makes two calls.
    return lambda: Kubelet(settings.kubelet_socket, timeout_s=_deadline_s(settings) / 2)


def _deadline_s(settings: Settings) -> float:
    return min(max(DEADLINE_MIN_S, settings.beat / 1000), DEADLINE_MAX_S)


def _open_real(settings: Settings, clock: Clock) -> Collectors:
    from exporter.cgroups import CgroupReader

    try:
        from exporter.nvml import DriverChanged, Nvml, NvmlMissing, successors
    except ImportError as error:
        raise NothingToRead(
            f"{error}: install gpu-chargeback[exporter], or simulate a node with --simulate"
        ) from error
    try:
        nvml = opened(lambda: Nvml(clock, links=settings.links))
    except NvmlMissing as error:
        raise NothingToRead(f"no NVIDIA driver to read: {error}") from error

    kubelet = _kubelet(settings)
    calls: Callable[[str], Calls] = Worker
    return Collectors(
        Gpus(nvml, reopen=successors(nvml)),
        Holdings(kubelet(), reopen=kubelet),
        Processes(CgroupReader(settings.proc)),
        calls=calls,
        clock=clock,
        deadline_s=_deadline_s(settings),
        fatal=(DriverChanged,),
    )


def opened(open_driver: Callable[[], T], *, within_s: float = OPEN_WITHIN_S) -> T:
    """What it opens. Raises what it raises, or NothingToRead where it hangs, for who waits for ever says nothing.

    The thread in it is left behind, and ends with the process.
    """
    found: Future[T] = Future()

    def work() -> None:
        try:
            found.set_result(open_driver())
        except BaseException as error:  # noqa: BLE001 - it is raised below, unchanged
            found.set_exception(error)

    threading.Thread(target=work, name="open", daemon=True).start()
    try:
        return found.result(within_s)
    except TimeoutError:
        raise NothingToRead(
            f"the NVIDIA driver hangs: it has not opened within {within_s:g} s; look for NVRM and Xid in the node's "
            "kernel log, and restart the node if it stays so"
        ) from None
