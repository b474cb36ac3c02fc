"""Finished hours that wait for the aggregator, and the store that keeps them in memory. No disk, no network."""

from __future__ import annotations

import gzip
import logging
import threading
import uuid
from dataclasses import dataclass, replace

from exporter import wire
from exporter.account import Account
from exporter.meter import Identity, body, hour_name

log = logging.getLogger(__name__)

YET_TO_COME = "the node's clock was ahead, and has been set back: this hour is yet to come\n"
HOURS_IN_MEMORY_MAX = 1_000  # six weeks; at 20 KiB an hour, what the agent may take of its node's memory


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FinishedHour:
    """The name of a finished hour's body. Two instances of one node may each have an account of one hour."""

    hour: str
    instance: str
    seq: int

    @property
    def key(self) -> tuple[str, str]:
        return (self.hour, self.instance)

    @property
    def file_name(self) -> str:
        return f"{self.hour}.{self.instance}.{self.seq}.json.gz"


def finish(account: Account, identity: Identity, *, seq: int) -> tuple[FinishedHour, bytes]:
    """A finished account as it is kept and sent."""
    hour = FinishedHour(hour=hour_name(account.start_ms), instance=identity.instance, seq=seq)
    return hour, pack(wire.encode(body(account, identity, seq=seq)))


def another(before: Identity, now_ms: int) -> Identity:
    """Of the same node, from now on."""
    return replace(before, instance=uuid.uuid4().hex, started_ms=now_ms)


def pack(data: bytes) -> bytes:
    """Equal data give equal bytes; the checksum tells a whole file from a damaged one."""
    return gzip.compress(data, compresslevel=6, mtime=0)


class HoursInMemory:
    """Bodies by hour, for several threads. When there are too many the oldest is lost, loudly."""

    def __init__(self) -> None:
        self.lost = 0
        self._bodies: dict[FinishedHour, bytes] = {}
        self._guard = threading.Lock()

    def put(self, hour: FinishedHour, data: bytes) -> None:
        with self._guard:
            self._bodies[hour] = data
            if len(self._bodies) <= HOURS_IN_MEMORY_MAX:
                return
            oldest = min(self._bodies)
            del self._bodies[oldest]
            self.lost += 1
        log.error("finished hour lost: no disk to keep it on, and too many in memory", extra={"hour": oldest.hour})

    def get(self, hour: FinishedHour) -> bytes | None:
        with self._guard:
            return self._bodies.get(hour)

    def drop(self, hour: FinishedHour) -> None:
        with self._guard:
            self._bodies.pop(hour, None)

    def list(self) -> list[FinishedHour]:
        """Oldest first."""
        with self._guard:
            return sorted(self._bodies)
