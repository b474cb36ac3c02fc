"""The two real programs as processes on loopback, for end-to-end tests. Always stopped."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path

WITHIN_S = 60.0

# The server's clock is the machine's, and it takes hours of the last 400 days: a day of the month before this one,
# early enough that the 72 hours after it are over and lie in the same month.
PAST_DAY = (datetime.now(UTC).date().replace(day=1) - timedelta(days=1)).replace(day=3)
PAST_MONTH = PAST_DAY.isoformat()[:7]


# Below those that the kernel hands to whoever asks for any, outgoing connections included: such a one may be gone
# before the program that was told of it listens, or while that is away. Each run has an order of its own.
PORTS = range(20_000, 32_000)
_ports = itertools.cycle(random.SystemRandom().sample(PORTS, len(PORTS)))


def free_port() -> int:
    """A port of loopback that nobody has, and that nobody gets by chance; another one each time."""
    for port in itertools.islice(_ports, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port from {PORTS.start} to {PORTS.stop} is free")


def fetch(url: str) -> tuple[int, bytes]:
    """Status and body; 0 where nobody answers, or not to the end."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (urllib.error.URLError, ConnectionError, TimeoutError, HTTPException):
        return 0, b""


def wait_for(what: str, check: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Wait until check() is true."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if check():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {within_s:.0f} s")


def chargeback(
    *arguments: str, check: bool = True, timeout_s: float = 120, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a `chargeback` command to its end."""
    return _run("chargeback.cli.main", arguments, check, timeout_s, env)


def exporter(
    *arguments: str, check: bool = True, timeout_s: float = 120, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `gpu-exporter` to its end."""
    return _run("exporter.cli", arguments, check, timeout_s, env)


def _run(
    module: str, arguments: tuple[str, ...], check: bool, timeout_s: float, env: Mapping[str, str] | None
) -> subprocess.CompletedProcess[bytes]:
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, **(env or {})},
    )
    assert ended.returncode == 0 or not check, (ended.returncode, ended.stderr.decode()[-3000:])
    return ended


@dataclass(slots=True)
class Program:
    """A running program."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def kill(self) -> None:
        """As the kernel does when memory runs out: no time to say goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def get(self, path: str) -> bytes:
        status, body = fetch(self.url + path)
        assert status == 200, (status, body, self.log.read_text()[-3000:])
        return body

    def get_json(self, path: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.get(path))
        return found


@contextmanager
def running(
    module: str, *arguments: str, log: Path, port: int | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """A program that listens; ready on entry, stopped on leaving."""
    port = port or free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--listen", f"127.0.0.1:{port}"],
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
        )
    program = Program(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_for(
            f"{module} ready",
            lambda: _alive(program) and fetch(f"{program.url}/readyz")[0] == 200,
        )
        yield program
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _alive(program: Program) -> bool:
    code = program.process.poll()
    assert code is None, f"ended with {code}: {program.log.read_text()[-3000:]}"
    return True
