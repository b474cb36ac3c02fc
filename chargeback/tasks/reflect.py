"""Keep a table as the API has it: list, watch, and when the version expires, list again.

What was known stays while the API is away, old rather than empty, and says how old it is.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar

from chargeback.clock import Clock
from chargeback.cluster.api import ApiError, ClusterApi, Event, Expired, NotServed
from chargeback.cluster.kind import Kind

log = logging.getLogger(__name__)

V = TypeVar("V")

RETRY_S, RETRY_MOST_S = 0.5, 30.0
# What a watch says first, after it was away, may have happened at any time since then.
CATCH_UP_MS = 5_000
# What happened this long before the server ended a watch was told, as promptly as anything is.
END_MS = 1_000


class Gone(NamedTuple, Generic[V]):
    """An object that is no longer there. known_ms: when it last was, for certain; gone_ms: when it was not."""

    value: V
    known_ms: int
    gone_ms: int


class Changes(NamedTuple, Generic[V]):
    """What came and went since it was last asked. listed: `changed` is all there is."""

    changed: dict[str, V]
    gone: dict[str, Gone[V]]
    listed: bool


@dataclass(slots=True)
class Table(Generic[V]):
    """The objects of one kind, by uid. Times: unix ms by the API server's clock.

    version  to watch from; None: to be listed
    read_ms  when it was last known to be whole; None: never
    lack     why it is not followed, as the API says it
    wake     called when something is new
    tells    what came and went is kept until somebody takes it; else nobody does, and it would be kept for ever
    """

    items: dict[str, V] = field(default_factory=dict)
    version: str | None = None
    read_ms: int | None = None
    lack: str | None = None
    wake: Callable[[], None] = lambda: None
    tells: bool = False
    _changed: dict[str, V] = field(default_factory=dict)
    _gone: dict[str, Gone[V]] = field(default_factory=dict)
    _listed: bool = False

    def values(self) -> list[V]:
        return list(self.items.values())

    def replace(self, items: dict[str, V], now_ms: int) -> None:
        """Take a whole list. What is not in it any more went some time since the table was last whole."""
        for uid in self.items.keys() - items.keys():
            self._lose(uid, now_ms if self.read_ms is None else self.read_ms, now_ms)
        if self.tells:
            self._changed |= {uid: value for uid, value in items.items() if self.items.get(uid) != value}
            self._listed = True
        self.items = dict(items)
        self.read_ms, self.lack = now_ms, None
        self.wake()

    def put(self, uid: str, value: V | None, now_ms: int) -> None:
        """Take one object as it is now. None: not one that we follow."""
        self.read_ms = now_ms
        if value is not None and self.items.get(uid) != value:
            self.items[uid] = value
            if self.tells:
                self._changed[uid] = value
            self.wake()

    def remove(self, uid: str, last: V | None, known_ms: int, now_ms: int) -> None:
        """Take that an object is no longer there. last: as it was at its end."""
        self.read_ms = now_ms
        if uid in self.items:
            if last is not None:
                self.items[uid] = last
            self._lose(uid, known_ms, now_ms)
            del self.items[uid]
            self.wake()

    def _lose(self, uid: str, known_ms: int, now_ms: int) -> None:
        if self.tells:
            self._gone[uid] = Gone(self.items[uid], known_ms, now_ms)
            self._changed.pop(uid, None)

    def take(self) -> Changes[V]:
        """What changed since the last time. Give it back with `untake` where it could not be used."""
        assert self.tells, "what this table was told is not kept"
        taken = Changes(self._changed, self._gone, self._listed)
        self._changed, self._gone, self._listed = {}, {}, False
        return taken

    def untake(self, taken: Changes[V]) -> None:
        self._changed = {uid: v for uid, v in taken.changed.items() if uid in self.items} | self._changed
        self._gone = taken.gone | self._gone
        self._listed = self._listed or taken.listed


async def keep_reflecting(api: ClusterApi, kind: Kind[V], table: Table[V], clock: Clock) -> None:
    """Follow one kind. Ends only by cancellation."""
    waits = backoff()
    while True:
        before_ms = table.read_ms
        try:
            await reflect(api, kind, table)
            if table.read_ms != before_ms:
                waits = backoff()
                continue  # the server ended it in its time; else wait, so that none can make this spin
        except Expired:
            log.info("watch expired: listing again", extra={"kind": kind.name})
            table.version = None
        except NotServed as error:
            if table.read_ms is None:
                log.info("no such kind here", extra={"kind": kind.name, "error": str(error)})
            if not table.items:  # else it was served: what is known stays
                table.replace({}, api.now_ms())
            await clock.sleep(RETRY_MOST_S)
            continue
        except ApiError as error:
            refused = error.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
            if not refused or table.lack is None:
                log.warning("cluster not read", extra={"kind": kind.name, "error": str(error)})
            table.lack = str(error)
            if refused:  # not for long, as a rule: an API server that was just started refuses what it will grant
                table.version = None
        if table.read_ms != before_ms:
            waits = backoff()  # it went well for a while
        await clock.sleep(next(waits))


async def reflect(api: ClusterApi, kind: Kind[V], table: Table[V]) -> None:
    """List, where that is needed, and watch until the server ends it. Raises ApiError; what was said is kept."""
    if table.version is None:
        listing = await api.list_all(kind)
        table.replace(listing.items, api.now_ms())
        table.read_ms = listing.asked_ms  # what came while its pages did, the watch tells
        table.version = listing.version
        log.debug("listed", extra={"kind": kind.name, "objects": len(listing.items)})
    opened_ms, before_ms = api.now_ms(), table.read_ms or api.now_ms()
    async for event in api.watch(kind, table.version):
        now_ms = api.now_ms()
        if event.kind == "OPENED":
            opened_ms, table.lack = now_ms, None
        else:
            _take(table, event, before_ms if now_ms < opened_ms + CATCH_UP_MS else now_ms, now_ms)
    ended_ms = api.now_ms()
    if ended_ms >= opened_ms + CATCH_UP_MS:  # silence is news too: a quiet kind may get no bookmark
        table.read_ms = max(table.read_ms or 0, ended_ms - END_MS)


def _take(table: Table[V], event: Event[V], known_ms: int, now_ms: int) -> None:
    if event.kind == "BOOKMARK":
        table.read_ms = now_ms
    elif event.kind == "DELETED":
        table.remove(event.uid, event.value, known_ms, now_ms)
    else:
        table.put(event.uid, event.value, now_ms)
    table.version, table.lack = event.version, None


def backoff() -> Iterator[float]:
    """Seconds to wait: longer each time, up to a bound, and never two alike."""
    wait_s = RETRY_S
    while True:
        yield wait_s * random.uniform(0.5, 1.0)
        wait_s = min(wait_s * 2, RETRY_MOST_S)
