"""What befalls the nodes that are recorded: which pods come and go, what they work, how cards are lost and cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tests.cluster.control_plane import ControlPlane, Refused
from tests.cluster.node import Container, Node
from tests.programs import wait_for
from tests.proof.stage.driver import Driver, Work
from tests.proof.stage.plugin import Plugin
from tests.proof.stage.scenario import Sharing
from tests.proof.witness.testimony import Price, Prices

H100 = "NVIDIA H100 80GB HBM3"
CARD, SLICE_1, SLICE_3, SLICE_4 = (
    "nvidia.com/gpu",
    *(f"nvidia.com/mig-{p}" for p in ("1g.10gb", "3g.40gb", "4g.40gb")),
)
# A micro a millisecond, slices with a price of their own, a tier that pays less: as it is read, and as it is told.
PRICES = f"""
currency: USD
prices:
  - {{model: {H100}, price: "3.60", unit: gpu-hour}}
  - {{model: {H100}, profile: 1g.10gb, price: "0.60", unit: instance-hour}}
tiers:
  - {{tier: spot, factor: "0.4"}}
"""
PRICES_TOLD = Prices(
    at_ms=0,
    prices=(Price(model=H100, micros=3_600_000), Price(model=H100, micros=600_000, profile="1g.10gb")),
    factors=(("spot", Fraction(2, 5)),),
)
NAMESPACES: dict[str, dict[str, str]] = {
    "ml": {"cost-center": "rd-001", "team": "research"},
    "web": {"cost-center": "cc-web", "team": "shop", "gpu-tier": "spot"},
    "nobody": {},
}
LONG_S = 1000.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A node that is being recorded. stranger: the pid of a process of the host's."""

    plane: ControlPlane
    node: Node
    driver: Driver
    plugin: Plugin
    stranger: int

    def start(self, namespace: str, pod: str, *containers: str, **devices: int) -> None:
        """A pod whose containers have so many devices each."""
        asked = {"command": ["sleep", "1000"], "resources": {"limits": devices}}
        self.node.start_pod(namespace, pod, *({"name": name, **asked} for name in containers or ("main",)))

    def job(self, namespace: str, name: str, seconds: float, **devices: int) -> None:
        container = {"name": "main", "command": ["sleep", str(seconds)], "resources": {"limits": devices}}
        self.node.start_job(namespace, name, container)

    def container(self, namespace: str, pod: str, name: str = "main") -> Container:
        """A container, once it runs."""
        found: list[Container] = []

        def look() -> bool:
            try:
                container = self.node.container(namespace, pod, name)
            except Refused:
                return False
            found.extend([container] if container else [])
            return bool(found)

        wait_for(f"{namespace}/{pod} runs", look)
        return found[0]

    def work(self, namespace: str, pod: str, sm: int, watts: int, *, memory_mib: int = 20_480) -> None:
        """The pod's first process keeps its devices so busy from now on."""
        container = self.container(namespace, pod)
        for device in sorted(container.visible_devices):
            self.driver.begin(
                Work(
                    device=device, pid=container.pid, node_pid=container.pid, sm=sm, memory_mib=memory_mib,
                    watts=watts, until_s=time.monotonic() + LONG_S, namespace=namespace, pod=pod, container="main",
                )
            )  # fmt: skip

    def intrude(self, namespace: str, pod: str, container: str, seconds: float) -> None:
        """A process of the host's on what a container holds."""
        (device,) = self.container(namespace, pod, container).visible_devices
        self.driver.begin(
            Work(
                device=device, pid=self.stranger, node_pid=self.stranger, sm=10, memory_mib=512, watts=20,
                until_s=time.monotonic() + seconds,
            )
        )  # fmt: skip

    def card_of(self, namespace: str, pod: str) -> int:
        """The number of the first card that a pod was given."""
        given = self.container(namespace, pod).visible_devices
        return next(number for number, card in enumerate(self.driver.cards) if card.uuid in given)

    def recover(self) -> None:
        """Every card answers again."""
        for number in range(len(self.driver.cards)):
            if self.driver.lost(number):
                self.driver.recover(number)

    def cut(self, card: int, *profiles: str) -> None:
        """What is still wanted stays as it is, and who holds it goes on."""
        self.driver.cut(card, profiles)
        self.plugin.offer(Sharing())

    def label(self, namespace: str, **labels: str) -> None:
        found = {name.replace("_", "-"): value for name, value in labels.items()}
        self.plane.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": found}})

    def delete(self, namespace: str, pod: str) -> None:
        self.plane.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod}")


Step = tuple[float, Callable[[Scene], Any]]


@dataclass(frozen=True, kw_only=True)
class Script:
    """about: in a sentence. cuts: of the cards, one after the other. steps: at which second, and what."""

    about: str
    cuts: Sequence[Sequence[str]]
    steps: Sequence[Step]
    until_s: float


SCRIPTS = {
    "cards": Script(
        about="four whole cards: pods, three-second Jobs, a relabelled namespace, a lost card, a host's process",
        cuts=((), (), (), ()),
        until_s=78,
        steps=(
            (2, lambda scene: scene.start("ml", "train", **{CARD: 2})),
            (4, lambda scene: scene.work("ml", "train", 70, 380)),
            (6, lambda scene: scene.start("web", "serve", **{CARD: 1})),
            (6.1, lambda scene: scene.work("web", "serve", 25, 30, memory_mib=4_096)),
            (12, lambda scene: scene.job("ml", "short-0", 3, **{CARD: 1})),
            (16, lambda scene: scene.job("ml", "short-1", 3, **{CARD: 1})),
            (20, lambda scene: scene.job("ml", "short-2", 3, **{CARD: 1})),
            (26, lambda scene: scene.label("web", cost_center="cc-store")),
            (32, lambda scene: scene.driver.lose(scene.card_of("ml", "train"))),
            (36, lambda scene: scene.recover()),
            (40, lambda scene: scene.delete("ml", "train")),
            (46, lambda scene: scene.start("nobody", "pair", "first", "second", **{CARD: 1})),
            (50, lambda scene: scene.job("web", "late", 6, **{CARD: 1})),
            (53, lambda scene: scene.intrude("nobody", "pair", "second", 6)),
            (62, lambda scene: scene.delete("nobody", "pair")),
            (64, lambda scene: scene.start("ml", "again", **{CARD: 1})),
            (67, lambda scene: scene.work("ml", "again", 95, 500)),
        ),
    ),
    "mig": Script(
        about="a card cut in three and a whole one: slices held, busy, and cut again beside one that is held on",
        cuts=(("3g.40gb", "1g.10gb", "1g.10gb"), ()),
        until_s=74,
        steps=(
            (2, lambda scene: scene.start("ml", "tune", **{SLICE_3: 1})),
            (2.1, lambda scene: scene.work("ml", "tune", 50, 30)),
            (6, lambda scene: scene.start("web", "serve", **{SLICE_1: 2})),
            (9, lambda scene: scene.work("web", "serve", 30, 40, memory_mib=1_024)),
            (14, lambda scene: scene.start("nobody", "whole", **{CARD: 1})),
            (28, lambda scene: scene.delete("web", "serve")),
            (36, lambda scene: scene.cut(0, "3g.40gb", "4g.40gb")),
            (44, lambda scene: scene.start("web", "large", **{SLICE_4: 1})),
            (47, lambda scene: scene.work("web", "large", 55, 210)),
            (52, lambda scene: scene.label("ml", cost_center="rd-002", gpu_tier="spot")),
            (60, lambda scene: scene.delete("nobody", "whole")),
        ),
    ),
}
