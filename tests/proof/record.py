"""Makes the recordings that are checked in: a real node, a real agent and a real aggregator, and what befalls them.

    $ flock /tmp/lab.lock .venv/bin/python -m tests.proof.record cards     (or mig; as root, two minutes each)

What replay needs of a run is in the recording; nothing of this is run by the tests.
"""

from __future__ import annotations

import gzip
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.cluster import pushed
from tests.cluster.control_plane import AGGREGATOR_TOKEN, ControlPlane, Refused, apply_shipped_rights, control_plane
from tests.cluster.device_plugin import device_plugin
from tests.cluster.lab import now_ms
from tests.cluster.node import Container, Node, node
from tests.nvml.fake import FakeNvml, build
from tests.nvml.fake_gpu import FakeInstance
from tests.programs import Program, chargeback, running, wait_for
from tests.proof.recording import FOLDER, Billed, Head, Recording, merged, read_lines, write

NODE, CLUSTER, BEAT_MS = "n1", "lab", 1000
CARD, SLICE_1, SLICE_3, SLICE_4 = (
    "nvidia.com/gpu",
    *(f"nvidia.com/mig-{p}" for p in ("1g.10gb", "3g.40gb", "4g.40gb")),
)
# A micro a millisecond, slices with a price of their own, and a tier that pays less.
PRICES = """
currency: USD
prices:
  - {model: NVIDIA H100 80GB HBM3, price: "3.60", unit: gpu-hour}
  - {model: NVIDIA H100 80GB HBM3, profile: 1g.10gb, price: "0.60", unit: instance-hour}
tiers:
  - {tier: spot, factor: "0.4"}
"""
NAMESPACES = {
    "ml": {"cost-center": "rd-001", "team": "research"},
    "web": {"cost-center": "cc-web", "team": "shop", "gpu-tier": "spot"},
    "nobody": {},
}
TICK_S = 0.1


@dataclass(kw_only=True)
class Scene:
    """A node that is being recorded. working: how busy, in percent, MIG instances are kept meanwhile."""

    plane: ControlPlane
    node: Node
    nvml: FakeNvml
    library: Path
    plugin: ExitStack
    working: dict[FakeInstance, int] = field(default_factory=dict)

    def offer(self, offers: Mapping[str, int]) -> None:
        """Have the device plugin look at the cards anew."""
        self.plugin.close()
        self.plugin.enter_context(device_plugin(self.node, self.nvml, self.library, offers))

    def start(self, namespace: str, pod: str, *containers: str, **devices: int) -> None:
        """A pod whose containers have so many devices each."""
        asked = {"command": ["sleep", "1000"], "resources": {"limits": devices}}
        self.node.start_pod(namespace, pod, *({"name": name, **asked} for name in containers or ("main",)))

    def job(self, namespace: str, name: str, seconds: float, **devices: int) -> None:
        container = {"name": "main", "command": ["sleep", str(seconds)], "resources": {"limits": devices}}
        self.node.start_job(namespace, name, container)

    def container(self, namespace: str, pod: str, name: str = "main") -> Container:
        """A container, once it runs."""

        def look() -> Container | None:
            try:
                return self.node.container(namespace, pod, name)
            except Refused:
                return None

        wait_for(f"{namespace}/{pod} runs", lambda: look() is not None)
        found = look()
        assert found is not None
        return found

    def work(self, namespace: str, pod: str, percent: int, *, memory_mib: int = 20_480) -> None:
        """The pod's first process keeps its devices so busy from now on."""
        container = self.container(namespace, pod)
        for gpu in self.nvml.gpus:
            if gpu.uuid in container.visible_devices:
                gpu.add_process(container.pid, memory_mib=memory_mib, sm_percent=percent)
            for instance in gpu.instances:
                if instance.uuid in container.visible_devices:
                    instance.add_process(container.pid, memory_mib=memory_mib)
                    self.working[instance] = percent

    def label(self, namespace: str, **labels: str) -> None:
        found = {name.replace("_", "-"): value for name, value in labels.items()}
        self.plane.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": found}})

    def delete(self, namespace: str, pod: str) -> None:
        self.plane.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod}")


Step = tuple[float, Callable[[Scene], Any]]


@dataclass(frozen=True, kw_only=True)
class Script:
    """about: in a sentence. steps: at which second, and what."""

    about: str
    cards: Callable[[FakeNvml], Any]
    offers: Mapping[str, int]
    steps: tuple[Step, ...]
    until_s: float


def whole_cards(nvml: FakeNvml) -> None:
    for watts in (350.0, 250.0, 150.0, 75.0):
        nvml.add_gpu().draw(watts, energy_mj=1_000_000)


def cut_card(nvml: FakeNvml) -> None:
    nvml.add_gpu(mig=["3g.40gb", "1g.10gb", "1g.10gb"]).draw(400.0, energy_mj=5_000)
    nvml.add_gpu().draw(90.0, energy_mj=7_000)


def cut_again(scene: Scene) -> None:
    """The small slices make place for a large one; who holds the other goes on."""
    for small in scene.nvml.gpus[0].instances[1:3]:
        small.destroy()
        scene.working.pop(small, None)
    del scene.nvml.gpus[0].instances[1:3]
    scene.nvml.gpus[0].add_instance("4g.40gb", slot=4)
    scene.offer({CARD: 1, SLICE_3: 1, SLICE_4: 1})


SCRIPTS = {
    "cards": Script(
        about="four whole cards: pods, three-second Jobs, a relabelled namespace, a lost card, a host's process",
        cards=whole_cards,
        offers={CARD: 4},
        until_s=78,
        steps=(
            (2, lambda scene: scene.start("ml", "train", **{CARD: 2})),
            (4, lambda scene: scene.work("ml", "train", 70)),
            (6, lambda scene: scene.start("web", "serve", **{CARD: 1})),
            (9, lambda scene: scene.work("web", "serve", 25, memory_mib=4_096)),
            *((12 + 4 * n, lambda scene, n=n: scene.job("ml", f"short-{n}", 3, **{CARD: 1})) for n in range(3)),
            (26, lambda scene: scene.label("web", cost_center="cc-store")),
            (32, lambda scene: scene.nvml.gpus[3].lose()),
            (36, lambda scene: scene.nvml.gpus[3].come_back()),
            (40, lambda scene: scene.delete("ml", "train")),
            (42, lambda scene: scene.nvml.gpus[0].add_process(1, memory_mib=512, sm_percent=10)),
            (46, lambda scene: scene.start("nobody", "pair", "first", "second", **{CARD: 1})),
            (50, lambda scene: scene.job("web", "late", 6, **{CARD: 1})),
            (62, lambda scene: scene.delete("nobody", "pair")),
            (64, lambda scene: scene.start("ml", "again", **{CARD: 1})),
        ),
    ),
    "mig": Script(
        about="a card cut in three and a whole one: slices held, busy, and cut again beside one that is held on",
        cards=cut_card,
        offers={CARD: 1, SLICE_3: 1, SLICE_1: 2},
        until_s=74,
        steps=(
            (2, lambda scene: scene.start("ml", "tune", **{SLICE_3: 1})),
            (4, lambda scene: scene.work("ml", "tune", 80)),
            (6, lambda scene: scene.start("web", "serve", **{SLICE_1: 2})),
            (9, lambda scene: scene.work("web", "serve", 30, memory_mib=1_024)),
            (14, lambda scene: scene.start("nobody", "whole", **{CARD: 1})),
            (28, lambda scene: scene.delete("web", "serve")),
            (36, cut_again),
            (44, lambda scene: scene.start("web", "large", **{SLICE_4: 1})),
            (47, lambda scene: scene.work("web", "large", 55)),
            (52, lambda scene: scene.label("ml", cost_center="rd-002", gpu_tier="spot")),
            (60, lambda scene: scene.delete("nobody", "whole")),
        ),
    ),
}


def record(name: str, folder: Path) -> Recording:
    """Play a script in a lab of its own."""
    script = SCRIPTS[name]
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane(folder, scheduler=True, node=NODE))
        machine = stack.enter_context(node(plane, folder, NODE))
        nvml = stack.enter_context(FakeNvml(folder / "nvml.state"))
        script.cards(nvml)
        apply_shipped_rights(plane)
        for namespace, labels in NAMESPACES.items():
            plane.create("/api/v1/namespaces", "Namespace", namespace, metadata={"labels": labels})
        scene = Scene(
            plane=plane, node=machine, nvml=nvml, library=build(folder), plugin=stack.enter_context(ExitStack())
        )
        scene.offer(script.offers)
        wait_for("the namespaces' accounts", lambda: all(_has_account(plane, each) for each in NAMESPACES))
        (folder / "prices.yaml").write_text(PRICES)
        server = stack.enter_context(_aggregator(plane, folder))
        stack.enter_context(_agent(scene, folder, server))
        with _ticking(scene):
            _play(scene, script)
            played_ms = now_ms()
            wait_for(
                "the last push", lambda: pushed.through_ms(pushed.bodies(folder / "ledger.db", NODE)) >= played_ms
            )
        head = Head(
            name=name, about=script.about, cluster=CLUSTER, node=NODE, beat_ms=BEAT_MS, prices=PRICES,
            programs=_programs(machine),
        )  # fmt: skip
        billed = _billed(folder)
        through_ms = pushed.through_ms(pushed.bodies(folder / "ledger.db", NODE))
        beats = [each for each in _tape(folder, "agent") if each.at_ms <= through_ms]
        news = [each for each in _tape(folder, "aggregator") if each.at_ms <= billed.at_ms]
        return merged(head, [*beats, *news], billed)


def _play(scene: Scene, script: Script) -> None:
    began_s = time.monotonic()
    for at_s, step in script.steps:
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        print(f"{time.monotonic() - began_s:6.1f} s (planned {at_s})", flush=True)
        step(scene)
    time.sleep(max(0.0, began_s + script.until_s - time.monotonic()))


@contextmanager
def _ticking(scene: Scene) -> Iterator[None]:
    """Time passes on MIG instances as GPM counts it."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(TICK_S):
            for instance, percent in list(scene.working.items()):
                instance.work(percent)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _aggregator(plane: ControlPlane, folder: Path) -> Any:
    kubeconfig = str(plane.kubeconfig(AGGREGATOR_TOKEN))
    return running(
        "tests.proof.recorders",
        *(str(folder / "aggregator.tape"), "aggregator", "serve", "--data", str(folder), "--cluster", CLUSTER),
        *("--kubeconfig", kubeconfig, "--prices", str(folder / "prices.yaml")),
        log=folder / "serve.log",
    )


def _agent(scene: Scene, folder: Path, server: Program) -> Any:
    """Outside the node's namespaces: the pids are the machine's, and /proc is."""
    return running(
        "tests.proof.recorders",
        *(str(folder / "agent.tape"), "agent", "--cluster", CLUSTER, "--node", NODE, "--beat", f"{BEAT_MS}ms"),
        *("--kubelet-socket", str(scene.node.kubelet_folder / "pod-resources/kubelet.sock")),
        *("--spool", str(folder / "spool"), "--push", server.url),
        log=folder / "agent.log",
        env={"LD_LIBRARY_PATH": str(scene.library.parent), "FAKE_NVML_STATE": str(scene.nvml.path)},
    )


def _billed(folder: Path) -> Billed:
    """What the aggregator has by now, and would bill."""
    at_ms = now_ms()
    month = time.strftime("%Y-%m", time.gmtime(at_ms / 1000))
    exported = chargeback(
        *("export", "--data", str(folder), "--month", month, "--detail", "hour", "--provisional", "--allow-unpriced")
    )
    with closing(sqlite3.connect(f"file:{folder / 'ledger.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT body FROM node_hour_bodies ORDER BY hour").fetchall()
    bodies = tuple(msgspec.Raw(gzip.decompress(body)) for (body,) in rows)
    return Billed(at_ms=at_ms, bodies=bodies, export=exported.stdout.decode())


def _tape(folder: Path, name: str) -> list[Any]:
    return read_lines((folder / f"{name}.tape").read_bytes())


def _has_account(plane: ControlPlane, namespace: str) -> bool:
    return bool(plane.call("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts")["items"])


def _programs(machine: Node) -> dict[str, str]:
    info = machine.plane.call("GET", f"/api/v1/nodes/{machine.name}")["status"]["nodeInfo"]
    return {name: info[name] for name in ("kubeletVersion", "containerRuntimeVersion")}


def main(names: list[str]) -> None:
    for name in names or SCRIPTS:
        with tempfile.TemporaryDirectory(prefix="recording-") as folder:
            recording = record(name, Path(folder))
        data = write(recording)
        (FOLDER / f"{name}.jsonl.gz").write_bytes(data)
        print(f"{name}: {len(recording.beats)} beats, {len(recording.heard)} entries, {len(data)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
