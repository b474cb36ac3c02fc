"""A clock that stands while anybody works: time passes only when it is told to, and all who sleep are woken in order.

So real loops (`while True: work; sleep`) run as they are, an hour of them in a moment, and twice the same way.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from typing import Any

NEVER_MS = 2**60
WITHIN_S = 60.0  # of real time: whoever works longer hangs


class VirtualClock:
    """Wall and monotonic time at once. `start` what shall run on it; `advance` is for one caller at a time."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asleep = asyncio.Event()

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self._now_ms + round(seconds * 1000))

    async def sleep_until(self, due_ms: int) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due_ms, next(self._order), woken))
        self._asleep.set()
        await woken

    def start(self, eternal: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what ends only by cancellation, and waits for nothing but this clock and the work in its own hands."""
        task = asyncio.create_task(eternal)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._asleep.set())
        return task

    async def stop(self, *tasks: asyncio.Task[None]) -> None:
        """End some, or all."""
        ended = set(tasks) or set(self._tasks)
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        self._tasks -= ended
        self._sleepers = [each for each in self._sleepers if not each[2].cancelled()]
        heapq.heapify(self._sleepers)

    async def advance(self, to_ms: int) -> None:
        """Let time pass; on return it is `to_ms`, and everybody sleeps. Raises what a task raised."""
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= to_ms:
            due_ms, _, woken = heapq.heappop(self._sleepers)
            self._now_ms = max(self._now_ms, due_ms)
            woken.set_result(None)
            await self._settle()
        self._now_ms = max(self._now_ms, to_ms)

    async def _settle(self) -> None:
        """Wait until all tasks sleep."""
        while len(self._sleepers) < len(self._tasks):
            for task in self._tasks:
                if task.done():
                    task.result()
                    raise AssertionError(f"{task} has ended")
            self._asleep.clear()
            await asyncio.wait_for(self._asleep.wait(), WITHIN_S)
