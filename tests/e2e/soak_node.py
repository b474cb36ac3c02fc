"""A node for the soak: the real agent as a process over the C driver and a PodResources socket, and its story.

What befell it is kept as intervals of unix ms, to be held against what the agent has written.
"""

from __future__ import annotations

import gzip
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import msgspec

from chargeback.bodies import read_body
from exporter import wire
from exporter.meter import Identity, body
from exporter.spool import State
from tests.body_receiver import BodyReceiver
from tests.kubelet_server import PodResourcesServer
from tests.nvml.fake import FakeNvml
from tests.programs import Program, fetch, running, wait_for

RESOURCE = "nvidia.com/gpu"
RECOVERS_WITHIN_S = 60.0  # of a fault; the machine may be busy


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class SoakNode:
    """Four cards: two to be held and lost, one cut in two, one that nobody ever holds."""

    def __init__(self, scratch: Path, library: Path, fake: FakeNvml, receiver: BodyReceiver) -> None:
        self._scratch, self.fake, self.receiver = scratch, fake, receiver
        self.cards = [fake.add_gpu(), fake.add_gpu()]
        self.cut = fake.add_gpu(mig=["3g.40gb", "3g.40gb"])
        self.idle = fake.add_gpu()
        self.kubelet = PodResourcesServer(scratch / "kubelet.sock")
        self.held: dict[str, tuple[str, int]] = {}  # device: pod, and since when
        self.holdings: list[tuple[str, str, int, int]] = []  # device, pod, from, to
        self.unseen: list[tuple[int, int]] = []  # nobody could look: whatever is observed here is invented
        self.deaf: list[tuple[int, int]] = []  # as above, but the sight before may hold for three beats
        self.ill: list[tuple[str | None, int, int]] = []  # a card (None: each) that could not be read
        self._arguments = (
            *("--cluster", "lab", "--node", "n1", "--beat", "1s", "--push", receiver.url),
            *("--kubelet-socket", str(self.kubelet.socket_path), "--spool", str(scratch / "spool")),
        )
        self._environment = {"LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML_STATE": str(fake.path)}
        self._life = ExitStack()
        self._counters: dict[str, float] = {}
        self.pods = 0

    def __enter__(self) -> Self:
        self.kubelet.__enter__()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()
        self.kubelet.__exit__()

    def start(self) -> None:
        self._life = ExitStack()
        log = self._scratch / "agent.log"
        self.agent: Program = self._life.enter_context(
            running("exporter.cli", *self._arguments, log=log, env=self._environment)
        )
        self._counters = {}

    def die(self, how: signal.Signals, for_s: float) -> None:
        """End the agent, and start it again after so long."""
        self.agent.process.send_signal(how)
        self.come_again(for_s)

    def come_again(self, for_s: float) -> None:
        """Start the agent so long after its end."""
        self.agent.process.wait(10)
        with self._nobody_looks():
            self._life.close()
            time.sleep(for_s)
        self.start()

    def stop(self, for_s: float) -> None:
        """Have the agent stand still, as on a node without a processor to spare."""
        self.agent.process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        with self._nobody_looks():
            time.sleep(for_s)
        self.agent.process.send_signal(signal.SIGCONT)

    @contextmanager
    def _nobody_looks(self) -> Iterator[None]:
        from_ms = now_ms()
        yield
        self.unseen.append((from_ms, now_ms()))

    def hang_up(self, for_s: float) -> None:
        """The kubelet restarts, and makes its socket anew."""
        self.kubelet.__exit__()
        self.kubelet.socket_path.unlink(missing_ok=True)
        from_ms = now_ms()
        time.sleep(for_s)
        self.deaf.append((from_ms, now_ms()))
        self.kubelet.__enter__()

    @contextmanager
    def illness(self, card: str | None) -> Iterator[None]:
        """A card, or each, cannot be read in here."""
        from_ms = now_ms()
        yield
        self.ill.append((card, from_ms, now_ms()))

    def give(self, device: str) -> None:
        self.pods += 1
        self.held[device] = (f"pod-{self.pods}", now_ms())
        self.kubelet.give("team", f"pod-{self.pods}", "main", RESOURCE, [device])

    def take(self, device: str) -> None:
        pod, from_ms = self.held.pop(device)
        self.kubelet.take("team", pod)
        self.holdings.append((device, pod, from_ms, now_ms()))

    def delete(self, path: str) -> None:
        with urllib.request.urlopen(urllib.request.Request(self.agent.url + path, method="DELETE"), timeout=10):
            pass

    def recover(self) -> None:
        """Wait until the agent sees everything again, by itself."""
        wait_for("the agent has recovered", self._is_well, RECOVERS_WITHIN_S)

    def _is_well(self) -> bool:
        status, page = fetch(self.agent.url + "/metrics")
        lines = page.decode().splitlines()
        self._check_counters(lines)
        signs = {f'gpu_exporter_collector_success{{collector="{name}"}} 1.0' for name in ("gpus", "holdings")}
        up = [line for line in lines if line.startswith("gpu_up{")]
        return (
            status == 200
            and {"gpu_exporter_released 0.0", *signs} <= set(lines)
            and len(up) == 4
            and all(line.endswith(" 1.0") for line in up)
        )

    def _check_counters(self, lines: list[str]) -> None:
        """No counter goes down within a life."""
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#") and "_total" in line)
        for name, value in samples:
            assert float(value) >= self._counters.get(name, 0.0), (name, value, self._counters[name])
            self._counters[name] = float(value)

    def finish(self) -> None:
        """End the agent; its last account goes the way of those it has pushed, and so do hours that still wait."""
        for device in list(self.held):
            self.take(device)
        self.agent.process.send_signal(signal.SIGTERM)
        assert self.agent.process.wait(10) == 0
        spool = self._scratch / "spool"
        for path in sorted((spool / "hours").glob("*.json.gz")):
            self._hand_over(gzip.decompress(path.read_bytes()))
        state = msgspec.json.decode(gzip.decompress((spool / "state.json.gz").read_bytes()), type=State)
        assert state.saved is not None
        identity = Identity(
            cluster=state.cluster, node=state.node, instance=state.instance, started_ms=state.started_ms
        )
        self._hand_over(wire.encode(body(state.saved.account, identity, seq=state.seq_reserved)))

    def _hand_over(self, data: bytes) -> None:
        self.receiver.take(read_body(data))
