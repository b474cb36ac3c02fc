"""What must outlive the agent, on disk: who it is, its open hour, and the finished hours nobody has acknowledged.

    lock           held by the one agent that uses this directory
    state.json.gz  instance, sequence numbers, open hour, memory of attribution
    hours/         finished hours, as they are pushed
    refused/       hours that the aggregator will never take, each with its reason
    corrupt/       what could not be read: for people to look at, never deleted

`prepare` turns values into bytes and is called by the beat; all else touches the disk, and one thread at a time
calls it. A file is written beside its place, synced and renamed, so there is never half of one.
"""

from __future__ import annotations

import fcntl
import gzip
import logging
import os
import threading
import uuid
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from exporter import wire
from exporter.account import Account
from exporter.finished import YET_TO_COME, FinishedHour, HoursInMemory, another, finish
from exporter.meter import Identity, Saved, hour_name
from exporter.samples import SpoolFigures
from exporter.sight import Memory

log = logging.getLogger(__name__)

BYTES_MAX = 256 * 1024 * 1024  # years of finished hours; a node's disk is not ours
# So many bodies may be sent while the disk fails: their numbers are reserved on it. At a beat of 10 s, 27 hours.
# What an earlier release has left on a disk is numbered by it, too: another number wants the last one in the state.
SEQ_AHEAD = 10_000

_STATE = "state.json.gz"
_TEMPORARY = ".tmp"
_UNREADABLE = (gzip.BadGzipFile, EOFError, zlib.error, msgspec.DecodeError, UnicodeDecodeError)


class SpoolError(Exception):
    """The spool cannot be used. Says which, why and what to do."""


class SpoolFull(Exception):
    """The spool's bound is reached: a finished hour stays in memory."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """seq_reserved: no body of this instance was ever sent with a greater number."""

    v: int = 1
    cluster: str
    node: str
    instance: str
    started_ms: int
    seq_reserved: int
    saved: Saved | None = None
    memory: Memory = msgspec.field(default_factory=Memory)


class Spool:
    """One agent's directory. Raises SpoolError where it cannot be had."""

    def __init__(self, directory: Path, *, cluster: str, node: str, now_ms: int) -> None:
        self._directory = directory
        self._lock = _lock(directory)
        self._now_ms = now_ms
        self._corrupt_files = 0
        self._write_failures = 0
        self._disk = threading.RLock()  # a call left behind may still be at it
        self._unsaved = HoursInMemory()
        self._waiting = self._find_hours()
        state = self._read_state(cluster, node)
        self.resumed = state is not None
        self.saved = state.saved if state else None
        self.memory = state.memory.after_restart() if state else Memory()
        self.identity = Identity(
            cluster=cluster,
            node=node,
            instance=state.instance if state else uuid.uuid4().hex,
            started_ms=state.started_ms if state else now_ms,
        )
        self._seq_reserved = state.seq_reserved if state else 0
        self.seq = self._seq_reserved
        self._left_off = _left_off(state)
        self._latest_hour = ""  # that may wait, once the clock has been set back
        self._bytes = self._measure()

    @property
    def figures(self) -> SpoolFigures:
        """How the spool fares, for the metrics."""
        return SpoolFigures(
            bytes_used=self._bytes,
            waiting=len(self.waiting()),
            write_failures=self._write_failures,
            corrupt_files=self._corrupt_files,
            hours_lost=self._unsaved.lost,
        )

    def prepare(self, saved: Saved | None, memory: Memory, finished: Sequence[Account]) -> Callable[[], bool]:
        """Take the next sequence number, and all of this beat as bytes. Returns the write still to be done.

        The write returns False where something failed; it is tried again with the next beat's.
        """
        self.seq += 1
        left_off, self._left_off = self._left_off, {}
        for account in finished:
            self._unsaved.put(*finish(account, self.identity, seq=left_off.get(account.start_ms, self.seq)))
        reserved = self.seq + SEQ_AHEAD
        state = State(
            cluster=self.identity.cluster,
            node=self.identity.node,
            instance=self.identity.instance,
            started_ms=self.identity.started_ms,
            seq_reserved=reserved,
            saved=saved,
            memory=memory,
        )
        return partial(self._write, msgspec.json.encode(state), reserved)

    def begin_anew(self, left: Account | None, now_ms: int) -> None:
        """Be another instance from now on; what is left of the one before may be sent, but not what is to come."""
        if left is not None:
            self._unsaved.put(*finish(left, self.identity, seq=self._left_off.get(left.start_ms, self.seq + 1)))
        self.identity = another(self.identity, now_ms)
        self._latest_hour = hour_name(now_ms)

    def _write(self, state: bytes, seq_reserved: int) -> bool:
        """Finished hours, then the state: a newer state without its finished hour would lose it in a crash."""
        with self._disk:
            try:
                self._refuse_what_is_to_come()
                for hour in self._unsaved.list():
                    self._write_hour(hour)
                self._write_file(self._directory / _STATE, gzip.compress(state, compresslevel=1, mtime=0))
            except (OSError, SpoolFull) as error:
                self._write_failures += 1
                log.error("spool not written", extra={"spool": str(self._directory), "error": str(error)})
                return False
            finally:
                self._bytes = self._measure()
            self._seq_reserved = max(self._seq_reserved, seq_reserved)
            return True

    def may_send(self, seq: int) -> bool:
        """Whether the number is on disk, so that no restart can use it again for something else."""
        return seq <= self._seq_reserved

    def waiting(self) -> list[FinishedHour]:
        """Finished hours, oldest first, those that are not on disk yet included."""
        unsaved = [hour for hour in self._unsaved.list() if self.may_send(hour.seq)]
        return sorted([*self._waiting.values(), *unsaved])

    def load(self, hour: FinishedHour) -> bytes | None:
        """The packed body. None: it could not be read, and lies in corrupt/ now, or has been replaced."""
        if (data := self._unsaved.get(hour)) is not None:
            return data
        path = self._directory / "hours" / hour.file_name
        with self._disk:
            try:
                data = path.read_bytes()
                wire.decode(gzip.decompress(data))
            except FileNotFoundError:
                self._forget(hour)
                return None
            except _UNREADABLE as error:
                self._set_corrupt(path, error)
                self._forget(hour)
                return None
            return data

    def acknowledge(self, hour: FinishedHour) -> None:
        """Let go of an hour: the aggregator has it. A newer body of that hour goes on waiting."""
        with self._disk:
            (self._directory / "hours" / hour.file_name).unlink(missing_ok=True)
            self._forget(hour)

    def refuse(self, hour: FinishedHour, reason: str) -> None:
        """Set an hour aside that the aggregator will never take."""
        with self._disk:
            if (data := self.load(hour)) is not None:
                self._write_file(self._directory / "refused" / hour.file_name, data)
                self._write_file(self._directory / "refused" / f"{hour.file_name}.reason.txt", reason.encode())
            self.acknowledge(hour)

    def close(self) -> None:
        """Let another agent have the directory."""
        os.close(self._lock)

    def _write_hour(self, hour: FinishedHour) -> None:
        data = self._unsaved.get(hour)
        if data is None:
            return  # acknowledged meanwhile
        if self._bytes + len(data) > BYTES_MAX:
            raise SpoolFull(f"{BYTES_MAX} bytes are used: see why the aggregator does not take hours")
        self._write_file(self._directory / "hours" / hour.file_name, data)
        older = self._waiting.get(hour.key)
        self._waiting = {**self._waiting, hour.key: hour}
        self._unsaved.drop(hour)
        if older is not None and older != hour:
            (self._directory / "hours" / older.file_name).unlink(missing_ok=True)

    def _refuse_what_is_to_come(self) -> None:
        for hour in [each for each in self.waiting() if "" < self._latest_hour < each.hour]:
            self.refuse(hour, YET_TO_COME)
        self._latest_hour = ""

    def _forget(self, hour: FinishedHour) -> None:
        self._unsaved.drop(hour)
        self._waiting = {key: each for key, each in self._waiting.items() if each != hour}
        self._bytes = self._measure()

    def _find_hours(self) -> dict[tuple[str, str], FinishedHour]:
        found: dict[tuple[str, str], FinishedHour] = {}
        for path in sorted((self._directory / "hours").iterdir()):
            if path.name.endswith(_TEMPORARY):
                path.unlink()  # a write that was cut off: its hour is still in the state
                continue
            try:
                hour, instance, seq, *_ = path.name.split(".")
                each = FinishedHour(hour=hour, instance=instance, seq=int(seq))
            except ValueError as error:
                self._set_corrupt(path, error)
                continue
            twin = found.get(each.key)
            if twin is not None:  # cut off between writing a body and removing the one it replaces
                each, twin = max(each, twin), min(each, twin)
                (self._directory / "hours" / twin.file_name).unlink()
            found[each.key] = each
        return found

    def _read_state(self, cluster: str, node: str) -> State | None:
        path = self._directory / _STATE
        try:
            state = msgspec.json.decode(gzip.decompress(path.read_bytes()), type=State)
        except FileNotFoundError:
            return None
        except _UNREADABLE as error:
            self._set_corrupt(path, error)
            return None
        except OSError as error:
            raise SpoolError(f"{path} cannot be read ({error}): mend the disk, or give another --spool") from None
        if (state.cluster, state.node) != (cluster, node):
            raise SpoolError(
                f"{self._directory} belongs to node {state.node!r} of cluster {state.cluster!r}, not to "
                f"{node!r} of {cluster!r}: give every node its own --spool"
            )
        return state

    def _set_corrupt(self, path: Path, error: Exception) -> None:
        self._corrupt_files += 1
        kept = self._directory / "corrupt" / f"{self._now_ms}-{self._corrupt_files}-{path.name}"
        log.error("corrupt file in the spool", extra={"file": str(path), "kept": str(kept), "error": str(error)})
        with suppress(OSError):
            path.rename(kept)

    def _write_file(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(path.name + _TEMPORARY)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # else a power cut may undo the rename
        finally:
            os.close(directory)

    def _measure(self) -> int:
        size = 0
        for directory in (self._directory, *(self._directory / name for name in ("hours", "refused", "corrupt"))):
            with suppress(FileNotFoundError), os.scandir(directory) as entries:
                size += sum(entry.stat().st_size for entry in entries if entry.is_file())
        return size


def _left_off(state: State | None) -> dict[int, int]:
    """The hour that is open on disk, by its start, and the next number after the one it was written with.

    Where it ends with the first beat, no later one is its own: had the disk failed since, more of that hour than is
    left of it might have been delivered under later numbers.
    """
    if state is None or state.saved is None:
        return {}
    return {state.saved.account.start_ms: state.seq_reserved - SEQ_AHEAD + 1}


def _lock(directory: Path) -> int:
    try:
        for each in (directory, *(directory / name for name in ("hours", "refused", "corrupt"))):
            each.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SpoolError(f"{directory} cannot be written ({error}): give --spool a directory of this node") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise SpoolError(f"{directory} is in use by another agent: only one may run with this --spool") from None
    return lock
