"""Makes the recordings that are checked in: a real node, a real agent and a real aggregator, and what befalls them.

    $ .venv/bin/python -m tests.proof.replay.record cards     (or mig; as root, two minutes each)

What replay needs of a run is in the recording; nothing of this is run by the tests.
"""

from __future__ import annotations

import gzip
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.cluster import pushed
from tests.cluster.control_plane import AGGREGATOR_TOKEN, ControlPlane, apply_shipped_rights, control_plane
from tests.cluster.daemon import Daemon
from tests.cluster.lab import now_ms
from tests.cluster.node import Node, node
from tests.nvml.fake import FakeNvml, build
from tests.programs import Program, chargeback, running, wait_for
from tests.proof.replay.recorded_scenes import H100, NAMESPACES, PRICES, PRICES_TOLD, SCRIPTS, Scene, Script
from tests.proof.replay.recording import FOLDER, Billed, Head, Recording, Word, merged, read_lines, write
from tests.proof.stage.driver import driver
from tests.proof.stage.plugin import plugin
from tests.proof.witness.testimony import Told

NODE, CLUSTER, BEAT_MS = "n1", "lab", 1000


def record(name: str, folder: Path) -> Recording:
    """Play a script in a lab of its own."""
    script = SCRIPTS[name]
    told: list[Told] = [PRICES_TOLD]
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane(folder, scheduler=True, node=NODE))
        machine = stack.enter_context(node(plane, folder, NODE))
        nvml = stack.enter_context(FakeNvml(folder / "nvml.state"))
        cards = stack.enter_context(driver(nvml, [H100] * len(script.cuts)))
        for number, profiles in enumerate(script.cuts):
            cards.cut(number, profiles)
        cards.tell = told.append
        cards.tell_all()
        library = build(folder)
        scene = Scene(
            plane=plane, node=machine, driver=cards, stranger=stack.enter_context(_stranger(folder)),
            plugin=stack.enter_context(plugin(machine, cards, library)),
        )  # fmt: skip
        make_namespaces(plane)
        server = stack.enter_context(recorded_aggregator(plane, folder, PRICES))
        silicon = {"LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML_STATE": str(nvml.path)}
        stack.enter_context(recorded_agent(machine, folder, server, silicon))
        _play(scene, script)
        wait_pushed(folder)
        billed = billed_by(folder)
        head = Head(
            name=name, about=script.about, cluster=CLUSTER, node=NODE, beat_ms=BEAT_MS, prices=PRICES,
            programs=programs_of(machine),
        )  # fmt: skip
    return recording_of(head, told, folder, billed)


def recording_of(head: Head, told: Sequence[Told], folder: Path, billed: Billed) -> Recording:
    """What both recorders wrote into a folder, as far as it was billed."""
    through_ms = pushed.through_ms(pushed_bodies(folder))
    beats = [each for each in tape_of(folder, "agent") if each.at_ms <= through_ms]
    news = [each for each in tape_of(folder, "aggregator") if each.at_ms <= billed.at_ms]
    return merged(head, [*map(Word.of_told, told), *beats, *news], billed)


def _play(scene: Scene, script: Script) -> None:
    began_s = time.monotonic()
    for at_s, step in script.steps:
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        print(f"{time.monotonic() - began_s:6.1f} s (planned {at_s})", flush=True)
        step(scene)
    time.sleep(max(0.0, began_s + script.until_s - time.monotonic()))


@contextmanager
def _stranger(folder: Path) -> Iterator[int]:
    """A process in no pod; its pid."""
    with Daemon(["sleep", "1000"], folder / "stranger.log") as daemon:
        yield daemon.pid


def make_namespaces(plane: ControlPlane) -> None:
    """And give the aggregator the shipped rights."""
    apply_shipped_rights(plane)
    for name, labels in NAMESPACES.items():
        plane.create("/api/v1/namespaces", "Namespace", name, metadata={"labels": labels})
    wait_for("the namespaces' accounts", lambda: all(_has_account(plane, name) for name in NAMESPACES))


def _has_account(plane: ControlPlane, namespace: str) -> bool:
    return bool(plane.call("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts")["items"])


def recorded_aggregator(plane: ControlPlane, folder: Path, prices: str) -> Any:
    """On SQLite, with its doors to the API recorded."""
    (folder / "prices.yaml").write_text(prices)
    return running(
        "tests.proof.replay.recorders",
        *(str(folder / "aggregator.tape"), "aggregator", "serve", "--data", str(folder), "--cluster", CLUSTER),
        *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN)), "--prices", str(folder / "prices.yaml")),
        log=folder / "serve.log",
    )


def recorded_agent(machine: Node, folder: Path, server: Program, env: Mapping[str, str] | None = None) -> Any:
    """With all its doors recorded, outside the node's namespaces: the pids are the machine's, and /proc is."""
    return running(
        "tests.proof.replay.recorders",
        *(str(folder / "agent.tape"), "agent", "--cluster", CLUSTER, "--node", NODE, "--beat", f"{BEAT_MS}ms"),
        *("--kubelet-socket", str(machine.kubelet_folder / "pod-resources/kubelet.sock")),
        *("--spool", str(folder / "spool"), "--push", server.url),
        log=folder / "agent.log",
        env=env,
    )


def wait_pushed(folder: Path) -> None:
    """Until the aggregator has everything up to now."""
    played_ms = now_ms()
    wait_for("the last push", lambda: pushed.through_ms(pushed_bodies(folder)) >= played_ms)


def billed_by(folder: Path) -> Billed:
    """What the aggregator has by now, and would bill."""
    at_ms = now_ms()
    month = time.strftime("%Y-%m", time.gmtime(at_ms / 1000))
    exported = chargeback("export", "--data", str(folder), "--month", month, "--detail", "hour", "--provisional")
    with closing(sqlite3.connect(f"file:{folder / 'ledger.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT body FROM node_hour_bodies ORDER BY hour").fetchall()
    bodies = tuple(msgspec.Raw(gzip.decompress(body)) for (body,) in rows)
    return Billed(at_ms=at_ms, bodies=bodies, export=exported.stdout.decode())


def pushed_bodies(folder: Path) -> list[pushed.Body]:
    return pushed.bodies(folder / "ledger.db", NODE)


def tape_of(folder: Path, name: str) -> list[Any]:
    return read_lines((folder / f"{name}.tape").read_bytes())


def programs_of(machine: Node) -> dict[str, str]:
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
