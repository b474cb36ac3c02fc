"""The stage of the proof: one GPU node of real parts, which lives for all scenarios of a pass.

Control plane, kubelet, containerd, NVIDIA's device plugin, the shipped agent, the aggregator on PostgreSQL, and a
wire between the last two that can be cut. What is simulated is the silicon alone.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.cluster import shipped_agent
from tests.cluster.control_plane import ControlPlane, Refused, apply_shipped_rights, control_plane
from tests.cluster.node import Node, node
from tests.cluster.relay import Relay, relay
from tests.nvml.fake import FakeNvml, build
from tests.postgres import Postgres, find_binaries, start_postgres
from tests.programs import wait_for
from tests.proof.stage.aggregator import Aggregator
from tests.proof.stage.books import Books
from tests.proof.stage.driver import Driver, driver
from tests.proof.stage.plugin import Plugin, plugin
from tests.proof.stage.scenario import H100, Part
from tests.proof.witness.testimony import Told

NODE = "n1"
CLUSTER = "default"  # as the shipped settings have it
# What the node has in every scenario: the last is there for another price, and always cut.
A100 = "NVIDIA A100-SXM4-80GB"
MODELS = (H100,) * 4 + (A100,)
ALWAYS_CUT = {4: ("2g.20gb", "2g.20gb", "2g.20gb")}
CALM_WITHIN_S = 90.0
HANDS = 24  # steps that are under way at once


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True, kw_only=True)
class Stage:
    """What a scenario acts upon. tell: where everything that is done to the node is told; the runner sets it.

    hands   start what has to outlive a step: a daemon ends with the thread that started it
    locks   of parts: nobody kills one that is about to start
    killed  how often each part was
    cut_ms  when the wire was cut last
    """

    plane: ControlPlane
    node: Node
    driver: Driver
    plugin: Plugin
    postgres: Postgres
    aggregator: Aggregator
    books: Books
    wire: Relay
    agent_url: str
    hands: ThreadPoolExecutor
    tell: Callable[[Told], None] = lambda told: None
    killed: Counter[str] = field(default_factory=Counter)
    cut_ms: int = 0
    locks: dict[str, threading.RLock] = field(
        default_factory=lambda: {part: threading.RLock() for part in get_args(Part)}
    )

    def listen(self, tell: Callable[[Told], None]) -> None:
        """Whatever is done to the node is told from now on, and first how its cards are."""
        self.tell = self.driver.tell = tell
        self.driver.tell_all()

    def call(self, method: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """Ask the API server, again and again while it is down. Raises Refused."""
        deadline = time.monotonic() + CALM_WITHIN_S
        again = False
        while True:
            try:
                return self.plane.call(method, path, body, kind=kind)
            except (OSError, HTTPException, ValueError):  # not there, or cut off in the middle of its answer
                if time.monotonic() > deadline:
                    raise
            except Refused as refused:
                if again and refused.status == (409 if method == "POST" else 404 if method == "DELETE" else 0):
                    return None  # it was done when the connection broke
                if refused.status not in (429, 500, 503, 504) or time.monotonic() > deadline:
                    raise
            again = True
            time.sleep(0.2)

    def merge(self, path: str, patch: Mapping[str, Any]) -> Any:
        return self.call("PATCH", path, patch, kind="application/merge-patch+json")

    def pods(self, namespace: str, workload: str = "") -> list[dict[str, Any]]:
        """Of a namespace, or of what was applied there under a name."""
        selector = f"?labelSelector=proof%3D{workload}" if workload else ""
        found: list[dict[str, Any]] = self.call("GET", f"/api/v1/namespaces/{namespace}/pods{selector}")["items"]
        return found

    def agent_ready(self) -> str | None:
        """The name of the agent's pod, once it is ready."""
        try:
            return shipped_agent.agent_pod(self.node)
        except (OSError, Refused):
            return None

    def create_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """With the account that its pods want."""
        metadata = {"name": name, "labels": dict(labels)}
        self.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        accounts = f"/api/v1/namespaces/{name}/serviceaccounts"
        wait_for(f"the account of {name}", lambda: self.call("GET", accounts)["items"])


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Start all of it in a folder, and stop all of it again. Skips where a part is not here."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no `initdb` and `postgres` here: they come with Debian's package `postgresql`")
    with ExitStack() as stack:
        hands = stack.enter_context(ThreadPoolExecutor(HANDS, "hand"))
        plane = stack.enter_context(control_plane(folder, scheduler=True, node=NODE))
        machine = stack.enter_context(node(plane, folder, NODE))
        nvml = stack.enter_context(FakeNvml(folder / "nvml.state"))
        cards = stack.enter_context(driver(nvml, MODELS))
        for card, profiles in ALWAYS_CUT.items():
            cards.cut(card, profiles)
        library = build(folder)
        postgres = stack.enter_context(start_postgres(binaries, ("max_connections=40",)))
        shipped_agent.apply_namespace(machine)
        apply_shipped_rights(plane)
        aggregator = stack.enter_context(Aggregator(folder, plane, postgres.new_database(), CLUSTER))
        wire = stack.enter_context(relay(aggregator.url))
        offer = stack.enter_context(plugin(machine, cards, library))
        metrics = shipped_agent.apply_agent(machine, nvml, library, wire.url)
        made = Stage(
            plane=plane, node=machine, driver=cards, plugin=offer, postgres=postgres, aggregator=aggregator,
            books=Books(aggregator, folder), wire=wire, agent_url=metrics, hands=hands,
        )  # fmt: skip
        wait_for("the agent is ready", made.agent_ready)
        yield made
