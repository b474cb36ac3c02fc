"""A program that runs beside a test: its own process group, its output in a file, and never outlives the tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_WITHIN_S = 10.0


class Daemon:
    """Started on entry, stopped on leaving; may be stopped and started again between."""

    def __init__(self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        # The kernel ends it with the process that started it, so that a killed test run leaves nothing behind.
        self.command = ["setpriv", "--pdeathsig", "KILL", *command]
        self.log = log
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, f"not started: {self.command}"
        return self._process.pid

    def start(self) -> None:
        assert not self.alive(), f"already running: {self.command}"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._env,
                start_new_session=True,
            )  # fmt: skip

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, *, kill: bool = False) -> None:
        """End the whole process group: asked first, or killed at once. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        self._signal(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN_S)
        self._signal(process.pid, signal.SIGKILL)
        process.wait()

    def said(self, characters: int = 3000) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-characters:]

    @staticmethod
    def _signal(group: int, number: int) -> None:
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return  # all of it has ended
