"""The node of a recording: the driver, the kubelet and /proc as they were at one beat after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from exporter.reading import NodeReading
from tests.proof.replay.recording import Answer, Beat
from tests.proof.replay.virtual_clock import NEVER_MS, VirtualClock

METHODS = ("List", "GetAllocatableResources")
SERVICE = "v1.PodResourcesLister"
Step = tuple[int, int]
UNHEARD = Answer(code="UNAVAILABLE", details="as it was recorded")


class DriverFailed(Exception):
    """The driver failed in the recording as well."""


class HeardNode:
    """As it was at the beat that is played: a driver, and folders and a socket beside it."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self._beat: Beat | None = None
        self._cgroups: dict[int, str] = {}

    def set(self, beat: Beat) -> None:
        """Have all be as it was then."""
        self._beat = beat
        for folder in self.proc.iterdir():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        for facts in beat.processes:
            if facts.cgroup is not None:  # read once in a process's life, and then remembered
                self._cgroups[facts.pid] = facts.cgroup
            if facts.stat is not None:
                folder = self.proc / str(facts.pid)
                folder.mkdir()
                (folder / "stat").write_text(facts.stat)
                if facts.pid in self._cgroups:
                    (folder / "cgroup").write_text(self._cgroups[facts.pid])

    @property
    def beat(self) -> Beat:
        assert self._beat is not None, "no beat is played yet"
        return self._beat

    def read(self) -> NodeReading:
        """As the door to NVML. Raises DriverFailed."""
        if self.beat.cards is None:
            raise DriverFailed(self.beat.failure)
        return self.beat.cards

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def kubelet(self, socket: Path) -> Iterator[Path]:
        """Its PodResources answers, byte for byte, on a real socket."""

        def answering(method: str) -> grpc.RpcMethodHandler[bytes, bytes]:
            def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
                found = self.beat.kubelet.get(f"/{SERVICE}/{method}", UNHEARD)
                if found.code:
                    context.abort(grpc.StatusCode[found.code], found.details)
                return found.message

            return grpc.unary_unary_rpc_method_handler(answer)

        handlers: Any = {method: answering(method) for method in METHODS}
        with futures.ThreadPoolExecutor(2) as threads:
            server = grpc.server(threads)
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
            server.add_insecure_port(f"unix:{socket}")
            server.start()
            try:
                yield socket
            finally:
                server.stop(grace=None)


class BeatClock:
    """The agent's clock: it wakes when the recorded agent beat, however long it means to sleep.

    Whoever begins when the recording is over sees nothing at all.
    """

    def __init__(
        self, clock: VirtualClock, node: HeardNode, beats: tuple[Beat, ...], steps: Sequence[Step] = ()
    ) -> None:
        """steps: from when on (unix ms) it is how far ahead of the truth, in order; only durations stay right."""
        self._clock, self._node, self._steps = clock, node, steps
        now_ms = clock.now_ms()
        self._waiting = [beat for beat in beats if beat.at_ms > now_ms]
        unheard = Beat(at_ms=now_ms, failure="the recording is over")
        node.set(next((beat for beat in beats if beat.at_ms == now_ms), unheard))

    def now_ms(self) -> int:
        now_ms = self._clock.now_ms()
        return now_ms + next((ahead_ms for at_ms, ahead_ms in reversed(self._steps) if at_ms <= now_ms), 0)

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        if not self._waiting:
            await self._clock.sleep_until(NEVER_MS)  # the recording is over
        beat = self._waiting.pop(0)
        await self._clock.sleep_until(beat.at_ms)
        self._node.set(beat)
