"""A real PostgreSQL for a test session: on a free loopback port, in a folder of its own, and always stopped again.

    def test_it(postgres):
        url = postgres.new_database()

PostgreSQL refuses to run as root: a test session of root's runs it as another user. Each test takes a database of its
own, which costs a few hundredths of a second. Bring the fixture into a test folder by importing `postgres` in that
folder's conftest.py.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.programs import free_port

READY_WITHIN_S = 30
STOPS_WITHIN_S = 20
POLL_EVERY_S = 0.05

SUPERUSER = "tests"

# Speed, not durability: the cluster lives as long as the session.
_OPTIONS: tuple[str, ...] = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60")

# An order that is not bytewise (a < B), as most installations have; PostgreSQL before 15 must do without.
_ORDERS = (("--locale-provider=icu", "--icu-locale=en", "--locale=C"), ("--locale=C",))


@dataclass(slots=True, kw_only=True)
class Postgres:
    """A server that is up. `start_postgres` makes one."""

    port: int
    process: subprocess.Popen[bytes]
    _command: list[str]
    _log: Path
    _user: dict[str, Any]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; its URL."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def run(self, statement: str) -> None:
        """Run a statement as the superuser, in the server's own database."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def kill(self) -> None:
        """As power that fails: SIGKILL, to all of its processes."""
        first = self.process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def start_again(self) -> None:
        """What was committed is there."""
        self.process = _launch(self._command, self._log, self._user)
        _wait_until_ready(self, self.process, self._log)

    def refuse(self, url: str) -> None:
        """Make a database unreachable: nobody gets in any more, and who is in is thrown out."""
        name = url.rpartition("/")[2]
        self.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def accept(self, url: str) -> None:
        self.run(f"ALTER DATABASE {url.rpartition('/')[2]} ALLOW_CONNECTIONS true")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the whole session, started by the first test that asks for it."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no `initdb` and `postgres` here: they come with Debian's package `postgresql`")
    with start_postgres(binaries) as server:
        yield server


def find_binaries() -> Path | None:
    """The folder of the newest PostgreSQL's programs; Debian keeps them out of PATH."""
    if (initdb := shutil.which("initdb")) and shutil.which("postgres"):
        return Path(initdb).parent
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def start_postgres(
    binaries: Path, options: Sequence[str] = _OPTIONS, within: Path | None = None
) -> Iterator[Postgres]:
    """Run PostgreSQL in a temporary folder until the block ends. within: where that is made."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=within))
    log = folder / "log"
    try:
        user = _user()
        if user:
            shutil.chown(folder, user["user"], user["group"])
        _initialise(binaries, folder, user)
        port = free_port()
        options = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", *options)
        command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        command += [part for option in options for part in ("-c", option)]
        process = _launch(command, log, user)
        server = Postgres(port=port, process=process, _command=command, _log=log, _user=user)
        try:
            _wait_until_ready(server, process, log)
            yield server
        finally:
            _stop(server.process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _launch(command: list[str], log: Path, user: dict[str, Any]) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent, **user)


def _user() -> dict[str, Any]:
    """Whom to run as: arguments of Popen. Empty: as who we are."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.fail("PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as")


def _initialise(binaries: Path, folder: Path, user: dict[str, Any]) -> None:
    command = [
        *(str(binaries / "initdb"), "-D", str(folder / "data"), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"),
        "--no-sync",
    ]
    problems = []
    for order in _ORDERS:
        done = subprocess.run([*command, *order], capture_output=True, text=True, cwd=folder, check=False, **user)
        if done.returncode == 0:
            return
        problems.append(done.stderr)
        shutil.rmtree(folder / "data", ignore_errors=True)
    pytest.fail("initdb failed:\n" + "\n".join(problems))


def _wait_until_ready(server: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            psycopg.connect(server.url("postgres"), connect_timeout=2).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > until:
                why = f"PostgreSQL did not get ready (exit status {process.returncode}): {error}"
                pytest.fail(f"{why}\n{log.read_text()[-2000:]}")
        time.sleep(POLL_EVERY_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """A fast shutdown (SIGINT throws its clients out), and the hard way if it does not come."""
    process.send_signal(2)
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
