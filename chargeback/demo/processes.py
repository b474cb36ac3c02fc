"""The demo's processes: the real `chargeback serve` and real `gpu-exporter`s, started and always stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 8.0


class DemoFailed(RuntimeError):
    """A process of the demo ended or did not begin; says which and where its log lies."""


@dataclass(slots=True)
class Processes:
    """Started processes; all are stopped on leaving, however one leaves."""

    logs: Path
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, module: str, *arguments: str) -> None:
        """Start `python -m module`, its output in a log file. It gets no Ctrl-C: we stop it in our order."""
        self.start_program(name, sys.executable, "-m", module, *arguments)

    def start_program(self, name: str, *command: str) -> None:
        """Start any other program likewise."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def finished(self, names: Sequence[str]) -> bool:
        """Whether all of these have ended well. Raises DemoFailed if one has not, or another has ended at all."""
        for name, process in self._running.items():
            code = process.poll()
            if code is not None and (code != 0 or name not in names):
                raise DemoFailed(f"{name} ended with exit code {code}: see {self.logs / name}.log")
        return all(self._running[name].poll() == 0 for name in names)

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            del self._running[name]

    def stop(self) -> None:
        """SIGTERM to all, newest first, then SIGKILL to whoever is left."""
        processes = list(reversed(self._running.values()))
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def wait_ready(url: str, processes: Processes, path: str = "/readyz") -> None:
    """Wait until a server says that it is ready. Raises DemoFailed."""

    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"{url}{path}", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    wait_until(url, is_ready, processes)


def wait_until(what: str, check: Callable[[], bool], processes: Processes) -> None:
    """Wait until check() is true. Raises DemoFailed when it takes too long or a process has ended."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not check():
        processes.finished(())
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what} is not ready after {READY_WITHIN_S:.0f} s: see the logs in {processes.logs}")
        time.sleep(0.1)


def free_port(wanted: int) -> int:
    """The wanted port of the loopback, or any free one where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoFailed("no free port on 127.0.0.1")
