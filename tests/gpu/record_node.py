"""Records a real node around a real card: what `tests.proof.replay` plays again in every test run.

    $ python -m tests.gpu.record_node OUT.jsonl.gz      (as root, four minutes; changes no setting of the card)

Control plane, kubelet, containerd and NVIDIA's device plugin are real, as in the proof, and so is the silicon: what
works on it are kernels that processes in the pods' containers run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from tests.cluster.control_plane import control_plane
from tests.cluster.node import node
from tests.cluster.shipped_agent import PREFIX, ROOT
from tests.gpu.node_scene import Scene, real_plugin, silicon
from tests.proof.replay.record import (
    BEAT_MS,
    CLUSTER,
    NODE,
    billed_by,
    make_namespaces,
    programs_of,
    recorded_agent,
    recorded_aggregator,
    recording_of,
    wait_pushed,
)
from tests.proof.replay.recording import Head, Heard, News, Recording, write
from tests.proof.witness.testimony import Price, Prices, Told

NAME = "silicon"
ABOUT = "a real card: kernels of pods that hold it in turn and share it, and of a process of the host's"
Step = tuple[float, Callable[[Scene], Any]]
STEPS: Sequence[Step] = (
    (2, lambda scene: scene.start("ml", "train")),
    (4, lambda scene: scene.open("ml", "train", 2_048)),
    (9, lambda scene: scene.busy("ml", "train", 12, 70)),
    (24, lambda scene: scene.label("ml", "rd-002")),
    (26, lambda scene: scene.busy("ml", "train", 10, 30)),
    (40, lambda scene: scene.delete("ml", "train")),
    (44, lambda scene: scene.job("web", "short-0", 3)),
    (50, lambda scene: scene.job("web", "short-1", 3)),
    (56, lambda scene: scene.start("nobody", "notebook")),
    (58, lambda scene: scene.open("nobody", "notebook", 512)),
    (61, lambda scene: scene.busy("nobody", "notebook", 10, 100)),
    (74, lambda scene: scene.intrude(6, 40)),
    (86, lambda scene: scene.delete("nobody", "notebook")),
    (90, lambda scene: scene.intrude(5, 60)),
    (100, lambda scene: scene.share(2)),
    (106, lambda scene: scene.start("ml", "left")),
    (106, lambda scene: scene.start("web", "right")),
    (109, lambda scene: scene.open("ml", "left", 512)),
    (109, lambda scene: scene.open("web", "right", 512)),
    (113, lambda scene: scene.busy("ml", "left", 8, 40)),
    (113, lambda scene: scene.busy("web", "right", 8, 40)),
    (124, lambda scene: scene.delete("ml", "left")),
)
UNTIL_S = 132.0


def record(folder: Path) -> Recording:
    """Play all steps in a lab of its own."""
    with ExitStack() as stack:
        card = stack.enter_context(silicon())
        prices = f'currency: USD\nprices:\n  - {{model: {card.model}, price: "3.60", unit: gpu-hour}}\n'
        told: list[Told] = [Prices(at_ms=0, prices=(Price(model=card.model, micros=3_600_000),))]
        plane = stack.enter_context(control_plane(folder, scheduler=True, node=NODE))
        machine = stack.enter_context(node(plane, folder, NODE))
        subprocess.run(machine.sandbox.inside(["umount", "/proc/driver"]), check=True)  # the real one lies beneath
        plugin = stack.enter_context(real_plugin(machine))
        make_namespaces(plane)
        scene = stack.enter_context(Scene(plane, machine, card, plugin, told.append))
        server = stack.enter_context(recorded_aggregator(plane, folder, prices))
        stack.enter_context(recorded_agent(machine, folder, server))
        _play(scene)
        wait_pushed(folder)
        billed = billed_by(folder)
        head = Head(
            name=NAME, about=ABOUT, cluster=CLUSTER, node=NODE, beat_ms=BEAT_MS, prices=prices,
            programs=programs_of(machine) | {"driver": card.driver},
        )  # fmt: skip
    return without_paths(recording_of(head, told, folder, billed))


def without_paths(recording: Recording) -> Recording:
    """Whoever recorded it has folders of his own, which stand in what his pods mount."""

    def renamed(found: msgspec.Raw) -> msgspec.Raw:
        text = bytes(found).replace(bytes(ROOT), b"/checkout").replace(bytes(PREFIX), b"/python")
        return msgspec.Raw(text)

    def rewrite(entry: Heard) -> Heard:
        if not isinstance(entry, News):
            return entry
        return msgspec.structs.replace(entry, objects=tuple(map(renamed, entry.objects)))

    return replace(recording, heard=tuple(map(rewrite, recording.heard)))


def _play(scene: Scene) -> None:
    """Each step at its time, by a hand of its own: two pods work at once."""
    began_s = time.monotonic()
    with ThreadPoolExecutor() as hands:
        steps = []
        for at_s, step in STEPS:
            time.sleep(max(0.0, began_s + at_s - time.monotonic()))
            steps.append(hands.submit(step, scene))
        for each in steps:
            each.result()
    time.sleep(max(0.0, began_s + UNTIL_S - time.monotonic()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="recording-") as made_in:
        made = record(Path(made_in))
    Path(sys.argv[1]).write_bytes(write(made))
