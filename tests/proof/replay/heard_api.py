"""The API server of a recording: it lists and watches as it was heard, and is read by the aggregator's own tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

import msgspec

from chargeback.clock import Clock
from chargeback.cluster.api import Event, Listing, _read_event
from chargeback.cluster.kind import Kind
from chargeback.tasks.follow_cluster import ClusterTables
from chargeback.tasks.reflect import keep_reflecting
from tests.proof.replay.recording import News

V = TypeVar("V")
WITHIN_S = 60.0  # of real time: who takes longer has died, and `close` says of what


class HeardApi:
    """In the place of `chargeback.cluster.api.ClusterApi`. The clock is the API server's, as it was of the run."""

    def __init__(self, clock: Clock, kinds: Iterable[Kind[Any]], heard: Iterable[News]) -> None:
        known = {each.kind for each in heard}
        self._clock = clock
        self._kinds = [kind for kind in kinds if kind.name in known]
        self._news: dict[str, asyncio.Queue[News]] = {kind.name: asyncio.Queue() for kind in self._kinds}
        self._tasks: list[asyncio.Task[None]] = []

    def follow(self, tables: ClusterTables) -> None:
        """Have the aggregator follow it from now on."""
        tables.awaited |= set(self._news)
        by_name: dict[str, Any] = tables.by_name()
        for kind in self._kinds:
            following = keep_reflecting(self, kind, by_name[kind.name], self._clock)  # type: ignore[arg-type]
            self._tasks.append(asyncio.create_task(following))

    async def tell(self, news: News) -> None:
        """Something is heard; on return the aggregator's table has it."""
        queue = self._news[news.kind]
        queue.put_nowait(news)
        await asyncio.wait_for(queue.join(), WITHIN_S)

    async def stay(self) -> None:
        """Nothing has happened up to now: the server ends each watch in its time, and is asked again."""
        for kind in self._kinds:
            for event in ("ENDED", "OPENED"):
                await self.tell(News(at_ms=self.now_ms(), kind=kind.name, event=event))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error

    def now_ms(self) -> int:
        return self._clock.now_ms()

    async def list_all(self, kind: Kind[V]) -> Listing[V]:
        news = await self._next(kind, "LISTED")
        found = [msgspec.json.decode(each, type=kind.of) for each in news.objects]
        items = {each.metadata.uid: kind.read(each) for each in found}
        self._news[kind.name].task_done()
        return Listing(
            items={uid: value for uid, value in items.items() if value is not None},
            version=news.version,
            asked_ms=news.at_ms,
        )

    async def watch(self, kind: Kind[V], version: str) -> AsyncIterator[Event[V]]:
        queue = self._news[kind.name]
        await self._next(kind, "OPENED")
        yield Event(kind="OPENED", version=version)
        queue.task_done()
        while (news := await queue.get()).event != "ENDED":
            yield _event(kind, news)
            queue.task_done()
        queue.task_done()

    async def _next(self, kind: Kind[V], event: str) -> News:
        news = await self._news[kind.name].get()
        assert news.event == event, f"{kind.name}: want {event} of a recording, saw {news.event}"
        return news


def _event(kind: Kind[V], news: News) -> Event[V]:
    """As the aggregator reads a line of a watch."""
    if news.event == "BOOKMARK":
        found: Any = {"metadata": {"resourceVersion": news.version}}
    else:
        (found,) = news.objects
    return _read_event(kind, msgspec.json.encode({"type": news.event, "object": found}))
