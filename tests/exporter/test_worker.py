"""Calls that never return, and collectors that fail: the rest goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from exporter.clock import SystemClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.runner import Runner
from exporter.reading import NodeReading
from exporter.worker import LEFT_BEHIND_MAX, DirectCalls, Wedged, Worker


async def test_a_call_returns_what_it_returns_and_raises_what_it_raises():
    worker = Worker("test")
    assert await worker.call(lambda: 1 + 1, timeout_s=5) == 2
    with pytest.raises(ZeroDivisionError):
        await worker.call(lambda: 1 // 0, timeout_s=5)

    def times_out() -> None:
        raise TimeoutError("the call's own")

    with pytest.raises(TimeoutError, match="the call's own"):
        await worker.call(times_out, timeout_s=5)
    worker.close()


async def test_calls_run_one_at_a_time_in_one_thread():
    worker = Worker("test")
    names = await asyncio.gather(*(worker.call(threading.get_ident, timeout_s=5) for _ in range(4)))
    assert len(set(names)) == 1
    assert names[0] != threading.get_ident()
    worker.close()


async def test_a_wedged_call_is_left_behind_and_the_next_gets_a_new_thread():
    worker, released = Worker("test"), threading.Event()
    with pytest.raises(Wedged, match="no return within"):
        await worker.call(released.wait, timeout_s=0.02)
    assert await worker.call(lambda: "works", timeout_s=5) == "works"
    released.set()
    worker.close()


async def test_only_so_many_calls_are_left_behind():
    worker, released = Worker("test"), threading.Event()
    for _ in range(LEFT_BEHIND_MAX):
        with pytest.raises(Wedged, match="no return within"):
            await worker.call(released.wait, timeout_s=0.01)
    with pytest.raises(Wedged, match="no other is tried"):
        await worker.call(lambda: None, timeout_s=5)
    released.set()
    for thread in threading.enumerate():
        if thread.name == "test":
            thread.join(5)
    assert await worker.call(lambda: "works", timeout_s=5) == "works"
    worker.close()


def runner(name: str = "gpus", *, abandon: Callable[[], None] | None = None, deadline_s: float = 5.0) -> Runner:
    return Runner(name, Worker(name), clock=SystemClock(), deadline_s=deadline_s, abandon=abandon, fatal=(KeyError,))


async def test_a_collector_that_fails_has_no_value_and_says_why():
    def fail() -> int:
        raise RuntimeError("driver gone")

    value, how = await runner().run(fail)
    assert (value, how.name, how.success, how.error) == (None, "gpus", False, "RuntimeError: driver gone")


async def test_what_is_fatal_ends_the_process():
    def fail() -> int:
        raise KeyError("driver changed")

    with pytest.raises(KeyError):
        await runner().run(fail)


class Source:
    """A driver that hangs on its first reading."""

    def __init__(self, *, hangs: threading.Event | None = None) -> None:
        self._hangs = hangs

    def read(self) -> NodeReading:
        if self._hangs is not None:
            self._hangs.wait()
        return NodeReading()

    def close(self) -> None:
        """Nothing is open."""


async def test_after_a_wedged_call_another_source_is_opened():
    released, opened = threading.Event(), []

    def reopen() -> Source:
        opened.append(1)
        return Source()

    gpus = Gpus(Source(hangs=released), reopen=reopen)
    value, how = await runner(abandon=gpus.abandon, deadline_s=0.05).run(gpus.collect)
    assert (value, how.success) == (None, False)
    assert how.duration_s >= 0.04
    value, how = await runner(abandon=gpus.abandon).run(gpus.collect)
    assert (value, how.success, opened) == (NodeReading(), True, [1])
    released.set()


async def test_direct_calls_are_direct():
    assert await DirectCalls().call(threading.get_ident, timeout_s=0) == threading.get_ident()
