"""Opens what the agent looks through: NVML, the kubelet and /proc of a real node, or a simulated one.

Imports of the real doors are here and late: a simulated node needs neither NVML nor gRPC, and a real one no YAML.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from exporter.clock import Clock
from exporter.collectors.gpus import Gpus, GpuSource
from exporter.collectors.holdings import Holdings, HoldingSource
from exporter.collectors.node import Collectors
from exporter.collectors.processes import OwnerSource, Processes
from exporter.config import DEFAULT_SCENARIO, Settings
from exporter.worker import Calls, DirectCalls, Worker

# A wedged call takes a beat's time, and the next beat must still come before the last sight has ceased to hold.
DEADLINE_MIN_S, DEADLINE_MAX_S = 2.0, 15.0


class NothingToRead(Exception):
    """There is no node to look at: says what is missing and what to do."""


class WholeNode(GpuSource, HoldingSource, OwnerSource, Protocol):
    """A simulated node is all three sources at once."""


def open_collectors(settings: Settings, clock: Clock) -> Collectors:
    """The collectors of the node that the settings name. Raises NothingToRead."""
    if settings.simulate or settings.replay:
        node = simulated_node(settings.simulate, node=settings.node, clock=clock)
        return Collectors(
            Gpus(node), Holdings(node), Processes(node), calls=lambda name: DirectCalls(), clock=clock, deadline_s=0
        )
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


def _open_real(settings: Settings, clock: Clock) -> Collectors:
    from exporter.cgroups import CgroupReader
    from exporter.kubelet import Kubelet

    try:
        from exporter.nvml import DriverChanged, Nvml, NvmlMissing
    except ImportError as error:
        raise NothingToRead(
            f"{error}: install gpu-chargeback[exporter], or simulate a node with --simulate"
        ) from error
    try:
        nvml = Nvml(clock)
    except NvmlMissing as error:
        raise NothingToRead(f"no NVIDIA driver to read: {error}") from error

    deadline_s = min(max(DEADLINE_MIN_S, settings.beat / 1000), DEADLINE_MAX_S)

    def kubelet() -> Kubelet:
        return Kubelet(settings.kubelet_socket, timeout_s=deadline_s / 2)  # a reading makes two calls

    calls: Callable[[str], Calls] = Worker
    return Collectors(
        Gpus(nvml, reopen=lambda: Nvml(clock)),
        Holdings(kubelet(), reopen=kubelet),
        Processes(CgroupReader(settings.proc)),
        calls=calls,
        clock=clock,
        deadline_s=deadline_s,
        fatal=(DriverChanged,),
    )
