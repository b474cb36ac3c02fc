"""A thread for calls that may never return. One that does not is left behind, and a new thread takes its place."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

# A driver that wedges every call would else cost a thread a beat until the node has none left.
LEFT_BEHIND_MAX = 4


class Wedged(TimeoutError):
    """A call did not return in time, or too many before it still have not."""


class Calls(Protocol):
    """Runs one call at a time, each within `timeout_s`; raises Wedged, or whatever the call raises."""

    async def call(self, work: Callable[[], T], *, timeout_s: float) -> T: ...


class DirectCalls:
    """Calls at once, for what is known to return."""

    async def call(self, work: Callable[[], T], *, timeout_s: float) -> T:
        return work()


class Worker:
    """Calls in a daemon thread of its own, so that neither a scrape nor the end of the process waits for one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Any] | None = None
        self._left_behind: list[threading.Thread] = []
        self._thread: threading.Thread | None = None

    async def call(self, work: Callable[[], T], *, timeout_s: float) -> T:
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        if len(self._left_behind) >= LEFT_BEHIND_MAX:
            raise Wedged(f"{self._name}: {len(self._left_behind)} calls have not returned: no other is tried")
        jobs = self._started()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        jobs.put((work, loop, result))
        try:
            return await asyncio.wait_for(result, timeout_s)
        except TimeoutError:
            if not result.cancelled():
                raise  # the call's own
            self._abandon(jobs)
            raise Wedged(f"{self._name}: no return within {timeout_s:g} s: the call is left behind") from None
        except asyncio.CancelledError:
            self._abandon(jobs)
            raise

    def close(self) -> None:
        """Let the thread end once it is free."""
        if self._jobs is not None:
            self._jobs.put(None)
        self._jobs = self._thread = None

    def _abandon(self, jobs: queue.SimpleQueue[Any]) -> None:
        jobs.put(None)  # should it come back, it finds this and ends
        if self._thread is not None:
            self._left_behind.append(self._thread)
        self._jobs = self._thread = None

    def _started(self) -> queue.SimpleQueue[Any]:
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            self._thread = threading.Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True)
            self._thread.start()
        return self._jobs


def _work(jobs: queue.SimpleQueue[Any]) -> None:
    while (job := jobs.get()) is not None:
        work, loop, result = job
        try:
            value, error = work(), None
        except BaseException as raised:  # noqa: BLE001 - it is raised where it was asked for, unchanged
            value, error = None, raised
        try:
            loop.call_soon_threadsafe(_settle, result, value, error)
        except RuntimeError:
            return  # the loop has ended: nobody waits any more
        job = work = result = value = error = None  # do not keep the last reading alive until the next


def _settle(result: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if result.cancelled():
        return
    if error is None:
        result.set_result(value)
    else:
        result.set_exception(error)
