"""A whole cluster of one GPU node: control plane, node, device plugin, the aggregator and the agent, all real."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.cluster import pushed, shipped_agent
from tests.cluster.control_plane import (
    AGGREGATOR_TOKEN,
    ControlPlane,
    Refused,
    apply_shipped_rights,
    control_plane,
)
from tests.cluster.daemon import Daemon
from tests.cluster.device_plugin import device_plugin
from tests.cluster.node import Container, Node, node
from tests.nvml.fake import FakeNvml, build
from tests.programs import Program, fetch, running, wait_for

NODE, NAMESPACE = "n1", "ml"
CLUSTER = "default"  # as the shipped settings have it
COST_CENTER = "rd-001"
# One micro a millisecond.
PRICES = """
currency: USD
prices:
  - {model: NVIDIA H100 80GB HBM3, price: "3.60", unit: gpu-hour}
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """nvml: the node's cards. library: the fake driver. server: the aggregator. metrics: URL of the agent."""

    plane: ControlPlane
    node: Node
    nvml: FakeNvml
    library: Path
    server: Program
    ledger: Path
    metrics: str
    plugin: Daemon

    def pod(self, name: str) -> dict[str, Any]:
        return self.node.pod(NAMESPACE, name)

    def running(self, pod: str, container: str = "main") -> Container:
        """The container, once it runs."""
        wait_for(f"{pod} is there", lambda: self.has_pod(pod))
        return wait_until(f"{pod}/{container} runs", lambda: self.node.container(NAMESPACE, pod, container))

    def has_pod(self, name: str) -> bool:
        try:
            self.pod(name)
        except Refused as refused:
            if refused.status != 404:
                raise
            return False
        return True

    def delete_pod(self, name: str) -> int:
        """Have a pod go; when the API server had it no more, in unix ms."""
        self.plane.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")
        wait_for(f"{name} is gone", lambda: not self.has_pod(name))
        return now_ms()

    def samples(self, name: str) -> list[Sample]:
        """Samples of a name on the agent's page."""
        page = fetch(f"{self.metrics}/metrics")[1].decode()
        families = text_string_to_metric_families(page)
        return [sample for family in families for sample in family.samples if sample.name == name]

    def bodies_through(self, until_ms: int) -> list[pushed.Body]:
        """What was pushed, once it accounts for everything up to an instant."""
        wait_for("the push", lambda: pushed.through_ms(pushed.bodies(self.ledger, NODE)) >= until_ms)
        return pushed.bodies(self.ledger, NODE)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def lab(folder: Path, fill: Callable[[FakeNvml], None], offers: Mapping[str, int]) -> Iterator[Lab]:
    """Start all of it in a folder; skips where a part is not here.

    fill    puts the cards into the node
    offers  what of them the device plugin shall offer, by resource
    """
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane(folder, scheduler=True, node=NODE))
        machine = stack.enter_context(node(plane, folder, NODE))
        nvml = stack.enter_context(FakeNvml(folder / "nvml.state"))
        fill(nvml)
        shipped_agent.apply_namespace(machine)
        apply_shipped_rights(plane)
        plane.create("/api/v1/namespaces", "Namespace", NAMESPACE, metadata={"labels": {"cost-center": COST_CENTER}})
        accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
        wait_for("the namespace's account", lambda: plane.call("GET", accounts)["items"])
        (folder / "prices.yaml").write_text(PRICES)
        arguments = (
            *("serve", "--data", str(folder), "--cluster", CLUSTER, "--prices", str(folder / "prices.yaml")),
            *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN))),
            *("--agent-account", f"{shipped_agent.NAMESPACE}/{shipped_agent.NAME}"),
        )
        server = stack.enter_context(running("chargeback.cli.main", *arguments, log=folder / "serve.log"))
        library = build(folder)
        plugin = stack.enter_context(device_plugin(machine, nvml, library, offers))
        metrics = shipped_agent.apply_agent(machine, nvml, library, server.url)
        made = Lab(
            plane=plane,
            node=machine,
            nvml=nvml,
            library=library,
            server=server,
            ledger=folder / "ledger.db",
            metrics=metrics,
            plugin=plugin,
        )
        wait_until("the agent is ready", lambda: shipped_agent.agent_pod(machine))
        yield made


def wait_until(what: str, look: Callable[[], T | None]) -> T:
    """Wait for something to be there; returns it."""
    found: T | None = None

    def there() -> bool:
        nonlocal found
        found = look()
        return found is not None

    wait_for(what, there)
    assert found is not None
    return found
