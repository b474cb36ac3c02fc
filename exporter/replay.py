"""Replays a simulated node: every beat of some past hours as fast as it goes, and only their final bodies pushed."""

from __future__ import annotations

import asyncio

from exporter.agent import Agent, Keeper
from exporter.clock import ReplayClock
from exporter.push import IN_FLIGHT_MAX, Pusher

# Bodies that wait while the aggregator is slower than we are: enough to keep every request busy.
WAITING_MAX = 4 * IN_FLIGHT_MAX
LOOK_EVERY_S = 0.01


async def replay(
    agent: Agent, keeper: Keeper, pusher: Pusher, clock: ReplayClock, *, until_ms: int, beat_ms: int
) -> int:
    """Beat up to and with `until_ms`, and wait until all is acknowledged. Returns how many hours were refused."""
    async with asyncio.TaskGroup() as tasks:
        pushing = tasks.create_task(pusher.push_finished(look_every_s=LOOK_EVERY_S))
        await _beats(agent, keeper, clock, until_ms=until_ms, beat_ms=beat_ms)
        await _wait(keeper, most=0)
        pushing.cancel()
    return pusher.refused_hours


async def _beats(agent: Agent, keeper: Keeper, clock: ReplayClock, *, until_ms: int, beat_ms: int) -> None:
    while True:
        if finished := await agent.observe():
            await agent.save(finished)
            await _wait(keeper, most=WAITING_MAX)
        if clock.now_ms() >= until_ms:
            return
        await clock.sleep(min(beat_ms, until_ms - clock.now_ms()) / 1000)


async def _wait(keeper: Keeper, *, most: int) -> None:
    while len(keeper.waiting()) > most:
        await asyncio.sleep(LOOK_EVERY_S)
