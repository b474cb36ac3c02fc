"""A clock that stands while anybody works."""

from __future__ import annotations

import asyncio

import pytest

from tests.proof.replay.virtual_clock import VirtualClock


async def test_sleepers_wake_in_order_and_at_their_time() -> None:
    """An hour of two loops takes no time, and each turn is at its own instant."""
    clock, woken = VirtualClock(0), []

    async def every(name: str, seconds: float) -> None:
        while True:
            await clock.sleep(seconds)
            woken.append((clock.now_ms(), name))

    clock.start(every("slow", 1500.0))
    clock.start(every("fast", 1000.0))
    await clock.advance(3_600_000)
    await clock.stop()
    assert woken == [
        (1_000_000, "fast"),
        (1_500_000, "slow"),
        (2_000_000, "fast"),
        (3_000_000, "slow"),
        (3_000_000, "fast"),
    ]
    assert clock.now_ms() == 3_600_000


async def test_time_waits_for_work() -> None:
    """What a task does in a thread takes no time on the clock, however long it takes."""
    clock, seen = VirtualClock(0), []

    async def work() -> None:
        while True:
            await clock.sleep(1.0)
            await asyncio.to_thread(lambda: seen.append(clock.now_ms()))

    clock.start(work())
    await clock.advance(3000)
    await clock.stop()
    assert seen == [1000, 2000, 3000]


async def test_what_a_task_raises_is_raised_to_who_advances() -> None:
    """A loop that has died must not let time stand still for ever."""
    clock = VirtualClock(0)

    async def die() -> None:
        await clock.sleep(1.0)
        raise ZeroDivisionError

    clock.start(die())
    with pytest.raises(ZeroDivisionError):
        await clock.advance(2000)


async def test_who_is_stopped_wakes_no_more() -> None:
    clock, woken = VirtualClock(0), []

    async def sleeper() -> None:
        while True:
            await clock.sleep(1.0)
            woken.append(clock.now_ms())

    task = clock.start(sleeper())
    await clock.advance(1000)
    await clock.stop(task)
    await clock.advance(5000)
    assert woken == [1000]
