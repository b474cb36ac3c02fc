"""Thin recorders around the doors of both programs: what a door says is written down, and handed on unchanged.

    $ python -m tests.proof.replay.recorders TAPE agent --node n1 …           gpu-exporter
    $ python -m tests.proof.replay.recorders TAPE aggregator serve --data …   chargeback

The tape is a file of lines as `recording.py` reads them; all but the doors is the program as it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from chargeback import app
from chargeback.cli.main import main as chargeback
from chargeback.cluster import api as api_door
from chargeback.cluster.api import ClusterApi, Event, Listing
from chargeback.cluster.kind import Kind
from exporter import cli, unary_call
from exporter.cgroups import CgroupReader
from exporter.clock import Clock, SystemClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors, Seen
from exporter.collectors.processes import Processes
from exporter.config import Settings
from exporter.kubelet import Kubelet
from exporter.nvml import Nvml
from exporter.reading import NodeReading
from exporter.unary_call import CallError, Connection
from exporter.worker import Worker
from tests.proof.replay.recording import Answer, Beat, Facts, News

V = TypeVar("V")
Happening = Literal["LISTED", "OPENED", "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ENDED"]
CALL_TIMEOUT_S = 1.0


class Tape:
    """A file that gets a line an entry, at once: a kill costs no more than the last one."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def note(self, entry: msgspec.Struct) -> None:
        self._file.write(msgspec.json.encode(entry) + b"\n")


class NotedClock(SystemClock):
    """Remembers what it said last: a beat asks for the time, and looks at once."""

    said_ms = 0

    def now_ms(self) -> int:
        self.said_ms = super().now_ms()
        return self.said_ms


class NotedCards:
    """The driver. One thread at a time."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self.heard: NodeReading | None = None
        self.failure = ""

    def read(self) -> NodeReading:
        self.heard, self.failure = None, ""
        try:
            self.heard = self._nvml.read()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            raise
        return self.heard

    def close(self) -> None:
        self._nvml.close()


class NotedConnection:
    """A connection to the kubelet. heard: its answers by method."""

    def __init__(self, connection: Connection, heard: dict[str, Answer]) -> None:
        self._connection, self._heard = connection, heard

    def call(self, method: str, request: bytes, *, timeout_s: float) -> bytes:
        try:
            message = self._connection.call(method, request, timeout_s=timeout_s)
        except CallError as error:
            self._heard[method] = Answer(code=error.code, details=error.details)
            raise
        self._heard[method] = Answer(message=message)
        return message


class NotedProc(CgroupReader):
    """What is read of /proc."""

    def __init__(self, proc: Path) -> None:
        super().__init__(proc)
        self.heard: dict[int, dict[str, str]] = {}

    def _read(self, pid: int, name: str) -> bytes:
        self.heard.setdefault(pid, {})
        data = super()._read(pid, name)
        self.heard[pid][name] = data.decode(errors="replace")
        return data


class NotedCollectors(Collectors):
    """The agent's collectors on recorded doors: an entry a beat."""

    def __init__(self, settings: Settings, clock: NotedClock, tape: Tape) -> None:
        self._noted_clock, self._tape = clock, tape
        self._cards = NotedCards(Nvml(clock))
        self._proc = NotedProc(settings.proc)
        self._answers: dict[str, Answer] = {}
        unary_call.connected = noted_connections(self._answers)
        super().__init__(
            Gpus(self._cards),
            Holdings(Kubelet(settings.kubelet_socket, timeout_s=CALL_TIMEOUT_S)),
            Processes(self._proc),
            calls=Worker,
            clock=clock,
            deadline_s=2 * CALL_TIMEOUT_S,
        )

    async def collect(self, *, released: Callable[[], bool] = lambda: False) -> Seen:
        at_ms = self._noted_clock.said_ms
        self._answers.clear()
        self._proc.heard.clear()
        seen = await super().collect(released=released)
        facts = tuple(Facts(pid=pid, **texts) for pid, texts in sorted(self._proc.heard.items()))
        beat = Beat(
            at_ms=at_ms,
            cards=self._cards.heard,
            failure=self._cards.failure,
            kubelet=dict(self._answers),
            processes=facts,
        )
        self._tape.note(beat)
        return seen


def noted_connections(heard: dict[str, Answer]) -> Any:
    """In the place of `unary_call.connected`."""
    connected = unary_call.connected

    @contextmanager
    def noted(socket_path: Path, **limits: Any) -> Iterator[NotedConnection]:
        try:
            with connected(socket_path, **limits) as connection:
                yield NotedConnection(connection, heard)
        except CallError as error:
            if not heard:  # nobody answers the socket at all
                heard[""] = Answer(code=error.code, details=error.details)
            raise

    return noted


def agent(tape: Tape, arguments: list[str]) -> int:
    """gpu-exporter, recorded."""

    def open_recorded(settings: Settings, clock: Clock) -> Collectors:
        assert isinstance(clock, NotedClock)
        return NotedCollectors(settings, clock, tape)

    cli.SystemClock, cli.open_collectors = NotedClock, open_recorded  # type: ignore[attr-defined]
    return cli.main(arguments)


def aggregator(tape: Tape, arguments: list[str]) -> None:
    """chargeback, recorded."""
    read_event = api_door._read_event
    answers: dict[str, bytes] = {}

    def noted_event(kind: Kind[V], line: bytes) -> Event[V]:
        event = read_event(kind, line)
        if event.value is not None:  # else it is none that is followed, and no business of a recording
            found = msgspec.json.decode(line, type=dict[str, msgspec.Raw])["object"]
            tape.note(_news(kind, event.kind, event.version, found))
        elif event.kind == "BOOKMARK":
            tape.note(_news(kind, event.kind, event.version))
        return event

    class NotedApi(ClusterApi):
        """The door to the API."""

        async def call(self, method: str, path: str, body: object = None, **more: Any) -> bytes:
            answers[path] = await super().call(method, path, body, **more)
            return answers[path]

        async def list_all(self, kind: Kind[V]) -> Listing[V]:
            listing = await super().list_all(kind)  # of one page: a lab is small
            items = msgspec.json.decode(answers[kind.path], type=_Page).items
            followed = [each for each in items if kind.read(msgspec.json.decode(each, type=kind.of)) is not None]
            tape.note(_news(kind, "LISTED", listing.version, *followed))
            return listing

        async def watch(self, kind: Kind[V], version: str) -> AsyncIterator[Event[V]]:
            async for event in super().watch(kind, version):
                if event.kind == "OPENED":
                    tape.note(_news(kind, "OPENED", version))
                yield event
            tape.note(_news(kind, "ENDED"))

    api_door._read_event, app.ClusterApi = noted_event, NotedApi  # type: ignore[attr-defined]
    chargeback(arguments)


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]


def _news(kind: Kind[V], event: Happening, version: str = "", *objects: msgspec.Raw) -> News:
    return News(at_ms=time.time_ns() // 1_000_000, kind=kind.name, event=event, version=version, objects=objects)


if __name__ == "__main__":
    path, program, *rest = sys.argv[1:]
    sys.exit({"agent": agent, "aggregator": aggregator}[program](Tape(Path(path)), rest))
