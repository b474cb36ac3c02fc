"""The spool of an agent that keeps nothing on disk: every start is a new instance, and what is not sent is lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from exporter.account import Account
from exporter.finished import YET_TO_COME, FinishedHour, HoursInMemory, another, finish
from exporter.meter import Identity, Saved, hour_name
from exporter.samples import SpoolFigures
from exporter.sight import Memory


class MemorySpool:
    """As `spool.Spool`, without a disk."""

    def __init__(self, *, cluster: str, node: str, now_ms: int) -> None:
        self.identity = Identity(cluster=cluster, node=node, instance=uuid.uuid4().hex, started_ms=now_ms)
        self.saved: Saved | None = None
        self.memory = Memory()
        self.seq = 0
        self._hours = HoursInMemory()

    @property
    def figures(self) -> SpoolFigures:
        return SpoolFigures(waiting=len(self._hours.list()), hours_lost=self._hours.lost)

    def prepare(self, saved: Saved | None, memory: Memory, finished: Sequence[Account]) -> Callable[[], bool]:
        """Count on and keep finished hours; there is nothing to write."""
        self.seq += 1
        for account in finished:
            self._hours.put(*finish(account, self.identity, seq=self.seq))
        return lambda: True

    def begin_anew(self, left: Account | None, now_ms: int) -> None:
        """Be another instance from now on; what is left of the one before may be sent, but not what is to come."""
        for hour in self.waiting():
            if hour.hour > hour_name(now_ms):
                self.refuse(hour, YET_TO_COME)
        if left is not None:
            self._hours.put(*finish(left, self.identity, seq=self.seq + 1))
        self.identity = another(self.identity, now_ms)

    def may_send(self, seq: int) -> bool:
        return True

    def waiting(self) -> list[FinishedHour]:
        return self._hours.list()

    def load(self, hour: FinishedHour) -> bytes | None:
        return self._hours.get(hour)

    def acknowledge(self, hour: FinishedHour) -> None:
        self._hours.drop(hour)

    def refuse(self, hour: FinishedHour, reason: str) -> None:
        """Nowhere to set it aside: the log and a metric have it."""
        self._hours.drop(hour)

    def close(self) -> None:
        """Nothing is open."""
