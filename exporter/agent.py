"""The beat: collect, attribute, meter, spool, render. What the agent does is read here from top to bottom.

A beat never raises for what the node, the kubelet or the disk does: it counts it, and the next beat tries again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from exporter import wire
from exporter.account import Account
from exporter.attribution import attribute
from exporter.clock import Clock
from exporter.collectors.node import Collectors, Seen
from exporter.families import Page
from exporter.finished import FinishedHour, pack
from exporter.meter import HOLDS_BEATS, Identity, Meter, Saved, body, hour_name
from exporter.own_process import own_process
from exporter.push import Running
from exporter.release import Release
from exporter.samples import SpoolFigures, Standing
from exporter.sight import Memory, Sight
from exporter.worker import Calls, Wedged

log = logging.getLogger(__name__)

SPOOL_TIMEOUT_S = 10.0  # a disk that takes longer counts as failed; the beat goes on


class Keeper(Protocol):
    """Keeps what must outlive a beat, and perhaps the process. Only the write it returns may be slow."""

    @property
    def identity(self) -> Identity: ...
    @property
    def seq(self) -> int: ...
    @property
    def saved(self) -> Saved | None: ...
    @property
    def memory(self) -> Memory: ...
    @property
    def figures(self) -> SpoolFigures: ...
    def prepare(self, saved: Saved | None, memory: Memory, finished: Sequence[Account]) -> Callable[[], bool]: ...
    def begin_anew(self, left: Account | None, now_ms: int) -> None: ...
    def may_send(self, seq: int) -> bool: ...
    def waiting(self) -> list[FinishedHour]: ...


class PushFigures(Protocol):
    """What the pusher counts."""

    @property
    def results(self) -> Mapping[str, int]: ...
    @property
    def refused_hours(self) -> int: ...
    @property
    def taken_at_ms(self) -> int | None: ...


class Agent:
    """One node's agent.

    page     the metrics of the last beat, empty before the first
    release  whether NVML is let go: from the next beat on, or at once by `let_go`
    """

    def __init__(
        self,
        collectors: Collectors,
        keeper: Keeper,
        *,
        clock: Clock,
        beat_ms: int,
        disk: Calls,
        pushing: bool = False,
    ) -> None:
        self.page = b""
        self.pushes: PushFigures | None = None  # set by who pushes; the pusher needs `running` first
        self._collectors = collectors
        self._keeper = keeper
        self._clock = clock
        self._beat_s = beat_ms / 1000
        self._disk = disk
        self._pushing = pushing
        self._meter = Meter(beat_ms=beat_ms, saved=keeper.saved)
        self._memory = keeper.memory
        self.release = Release(clock)
        self._page = Page()
        self._beats = 0
        self._beat_ended_s = clock.monotonic_s()
        self._open: tuple[str, int, bytes] | None = None

    async def run(self) -> None:
        """Beat for ever. A beat that takes too long delays the next; none is made up for."""
        due_s = self._clock.monotonic_s()
        while True:
            lag_s = self._clock.monotonic_s() - due_s
            await self.beat(lag_s=lag_s)
            due_s += self._beat_s * (1 + lag_s // self._beat_s)
            await self._clock.sleep(max(0.0, due_s - self._clock.monotonic_s()))

    async def beat(self, *, lag_s: float = 0.0) -> None:
        """One beat. What it sees counts from its beginning."""
        now_ms = self._clock.now_ms()
        seen = await self._collectors.collect(released=lambda: self.release.active)
        sight, finished = self._account(seen, now_ms)
        write = self._keeper.prepare(self._meter.save(), self._memory, finished)
        open_body = self._open_body() if self._pushing else None
        await self._write(write)
        self._open = open_body  # not before: who dies between the two would tell the same time in another way
        self._beats += 1
        self.page = self._render(seen, sight, now_ms, lag_s)
        self._beat_ended_s = self._clock.monotonic_s()

    async def observe(self) -> list[Account]:
        """A beat of simulated time: only the account. Returns the hours finished."""
        now_ms = self._clock.now_ms()
        return self._account(await self._collectors.collect(), now_ms)[1]

    async def let_go(self) -> str:
        """If a release is on, let go of NVML now. Returns why it is still held, or nothing."""
        return (await self._collectors.let_go()).error if self.release.active else ""

    def running(self) -> Running | None:
        """The open hour's body to push, if there is one."""
        if self._open is None or not self._keeper.may_send(self._open[1]):
            return None
        hour, _, data = self._open
        return Running(hour=hour, data=pack(data))

    async def save(self, finished: Sequence[Account] = ()) -> None:
        """Write the spool, as each beat does."""
        await self._write(self._keeper.prepare(self._meter.save(), self._memory, finished))

    @property
    def ready(self) -> bool:
        """Whether there was a first beat."""
        return self._beats > 0

    @property
    def stuck(self) -> bool:
        """Whether no beat has ended for longer than one may be missing."""
        return self._clock.monotonic_s() - self._beat_ended_s > HOLDS_BEATS * self._beat_s

    def _account(self, seen: Seen, now_ms: int) -> tuple[Sight, list[Account]]:
        sight, self._memory = attribute(seen.node, seen.kubelet, seen.owners, self._memory)
        if self._meter.is_cut_off(now_ms):
            self._keeper.begin_anew(self._meter.cut_off(now_ms), now_ms)
            log.info("another instance begins", extra={"instance": self._keeper.identity.instance})
        finished = self._meter.advance(sight, now_ms)
        self._meter.add_xids(() if seen.node is None else seen.node.xids, now_ms)
        for account in finished:
            facts = {"hour": hour_name(account.start_ms), "holdings": len(account.holdings)}
            log.info("hour finished", extra=facts)
        return sight, finished

    def _open_body(self) -> tuple[str, int, bytes] | None:
        saved, seq = self._meter.save(), self._keeper.seq
        if saved is None:
            return None
        data = wire.encode(body(saved.account, self._keeper.identity, seq=seq))
        return hour_name(saved.account.start_ms), seq, data

    async def _write(self, write: Callable[[], bool]) -> None:
        try:
            await self._disk.call(write, timeout_s=SPOOL_TIMEOUT_S)
        except Wedged as error:
            log.error("spool does not answer", extra={"error": str(error)})

    def _render(self, seen: Seen, sight: Sight, now_ms: int, lag_s: float) -> bytes:
        return self._page.render(
            Standing(
                node=self._keeper.identity.node,
                reading=seen.node,
                sight=sight,
                totals=self._meter.totals,
                collectors=seen.results,
                released=seen.released,
                beats=self._beats,
                beat_lag_s=lag_s,
                beat_at_ms=now_ms,
                steps_back=self._meter.steps_back,
                spool=self._keeper.figures,
                pushes={} if self.pushes is None else self.pushes.results,
                refused_hours=0 if self.pushes is None else self.pushes.refused_hours,
                taken_at_ms=None if self.pushes is None else self.pushes.taken_at_ms,
                process=own_process(),
            )
        )
