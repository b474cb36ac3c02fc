"""Records the agent on a real card: what the driver answered it, what it made of that, and what the truth was.

    $ python -m tests.gpu.record OUT.json

Three agents watch one card through one kubelet: `recorded` (1 s beats, the driver's answers written down by
tests/nvml/tape.c), `fast` (1 s) and `slow` (10 s), with nothing in between, for the footprint. Processes of three
pods work on it: one that holds it and two that do not. Takes about 100 s and writes
some 250 kB. Changes no setting of the card.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pynvml

from tests.gpu.agents import Agent, Aggregator, wait_for_pushes, weigh
from tests.gpu.pods import Pod, adopt, remove
from tests.gpu.work import Work
from tests.kubelet_server import PodResourcesServer
from tests.nvml import tape

RESOURCE = "nvidia.com/gpu"
HOLDER = Pod(namespace="team-a", name="train-0")
STRANGER = Pod(namespace="team-b", name="notebook-0")
LATECOMER = Pod(namespace="team-c", name="leftover-0")


class Recorder:
    """What happened, when, by the wall clock that the agents use too."""

    def __init__(self, scratch: Path, kubelet: PodResourcesServer, card: str, watched: Agent) -> None:
        self.scratch, self.kubelet, self.card, self.watched = scratch, kubelet, card, watched
        self.events: list[dict[str, Any]] = []
        self.processes: list[dict[str, Any]] = []
        self.work: list[dict[str, Any]] = []
        self.pages: dict[str, str] = {}

    def give(self, pod: Pod) -> None:
        self.kubelet.give(pod.namespace, pod.name, "main", RESOURCE, [self.card])
        self._event("give", pod)

    def take(self, pod: Pod) -> None:
        self.kubelet.take(pod.namespace, pod.name)
        self._event("take", pod)

    def _event(self, what: str, pod: Pod) -> None:
        self.events.append({"at_ms": _now_ms(), "event": what, "namespace": pod.namespace, "pod": pod.name})

    def start(self, pod: Pod, work: Work) -> dict[str, Any]:
        """Put the process into its pod, then onto the card."""
        pid = work.process.pid
        root = adopt(pod, pid, self.scratch)
        proc = Path(f"/proc/{pid}")
        facts = {
            "pod": pod.name,
            "pod_uid": pod.uid,
            "pid": pid,
            "hierarchy": str(root),
            "from_ms": _now_ms(),
            "stat": (proc / "stat").read_text(),
            "cgroup": (proc / "cgroup").read_text(),
        }
        work.do("open")
        self.processes.append(facts)
        return facts

    def end(self, pod: Pod, facts: dict[str, Any], work: Work) -> None:
        work.process.kill()
        work.process.wait()
        facts["until_ms"] = _now_ms()
        remove(pod, Path(facts["hierarchy"]))

    def did(self, pod: Pod, answer: dict[str, int]) -> None:
        self.work.append({"pod": pod.name, **answer})

    def look(self, name: str) -> None:
        """Keep the samples of this moment."""
        samples = (line for line in self.watched.page().splitlines() if not line.startswith("#"))
        self.pages[name] = "".join(f"{line}\n" for line in samples)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def play(recorder: Recorder) -> None:
    """Idle; held and idle; at work in full and in part; two at once; a stranger alone; idle again; a latecomer."""
    time.sleep(3)
    recorder.look("idle")
    recorder.give(HOLDER)
    time.sleep(3)
    with Work() as holder, Work() as stranger:
        holding = recorder.start(HOLDER, holder)
        holder.do("take", 2048)
        recorder.did(HOLDER, holder.do("busy", 12, 1))
        recorder.look("busy")
        time.sleep(4)
        recorder.did(HOLDER, holder.do("busy", 12, 0.3))
        using = recorder.start(STRANGER, stranger)
        stranger.do("take", 512)
        time.sleep(2)
        holder.order("busy", 10, 0.4)
        stranger.order("busy", 10, 0.4)
        recorder.did(HOLDER, holder.answer())
        recorder.did(STRANGER, stranger.answer())
        recorder.look("both")
        time.sleep(3)
        recorder.did(STRANGER, stranger.do("busy", 4, 1))
        recorder.end(STRANGER, using, stranger)
        time.sleep(2)
        holder.order("busy", 60, 1)
        time.sleep(4)
        recorder.end(HOLDER, holding, holder)  # in the middle of its work, as an out-of-memory kill does
    time.sleep(3)
    recorder.take(HOLDER)
    time.sleep(3)
    with Work() as latecomer:  # on a card that nobody holds
        using = recorder.start(LATECOMER, latecomer)
        recorder.did(LATECOMER, latecomer.do("busy", 5, 0.6))
        recorder.end(LATECOMER, using, latecomer)
    time.sleep(3)
    recorder.look("after")


def driver_path() -> Path:
    """Where the loader found the driver's library for this process, which has it open."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return Path(next(line.split(maxsplit=5)[5] for line in maps if "libnvidia-ml.so" in line))


def _card() -> str:
    pynvml.nvmlInit()
    uuid = str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0)))
    pynvml.nvmlShutdown()
    return uuid


def _machine() -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "nvidia_ml_py": version("nvidia-ml-py"),
    }


def record(to: Path) -> None:
    """Everything into one JSON file."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kubelet = stack.enter_context(PodResourcesServer(scratch / "kubelet.sock"))
        card = _card()
        kubelet.offer(RESOURCE, [card])
        aggregator = Aggregator()
        push, lines = f"http://127.0.0.1:{aggregator.server_port}", scratch / "lines"
        taping = tape.recording(tape.build(scratch), driver=driver_path(), to=lines)
        agents = [
            Agent("recorded", "1s", scratch, push, taping),
            Agent("fast", "1s", scratch, push),
            Agent("slow", "10s", scratch, push),
        ]
        ended = threading.Event()
        threading.Thread(target=weigh, args=(agents, ended), daemon=True).start()
        recorder = Recorder(scratch, kubelet, card, agents[0])
        play(recorder)
        ended.set()
        footprints = {agent.name: agent.footprint() for agent in agents}
        wait_for_pushes(aggregator, agents)
        bodies = dict(aggregator.bodies)
        calls = lines.read_text().splitlines()
        codes = {agent.name: agent.end() for agent in agents}
        logs = {agent.name: (scratch / f"{agent.name}.log").read_text() for agent in agents}
    found = {
        "machine": _machine(),
        "card": card,
        "events": recorder.events,
        "processes": recorder.processes,
        "work": recorder.work,
        "footprints": footprints,
        "exit_codes": codes,
        "logs": {name: [line for line in log.splitlines() if '"info"' not in line] for name, log in logs.items()},
        "pages": recorder.pages,
        "bodies": bodies,
        "readings": [each for each in tape.readings(calls) if tape.at_ms(each[0]) <= _until_ms(bodies["recorded"])],
    }
    to.write_text(json.dumps(found, indent=1) + "\n")


def _until_ms(body: dict[str, Any]) -> int:
    """What the body knows of, and a moment more: it was written after its beat had begun."""
    hour = datetime.strptime(body["hour"], "%Y-%m-%dT%HZ").replace(tzinfo=UTC)
    return int(hour.timestamp() * 1000) + int(body["through"]) + 500


if __name__ == "__main__":
    record(Path(sys.argv[1]))
