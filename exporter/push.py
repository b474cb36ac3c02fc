"""Brings node-hours to the aggregator: PUT until it has them. Any answer may be lost; sending twice does no harm.

Hours are independent. One that the aggregator will never take (400, 413, 422) is set aside, loudly; every other
answer, and none at all, is tried again for ever. So is what somebody else answers in the aggregator's place, whatever
its status: a proxy's page is no receipt. What waits and what is on disk is the spool's affair.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import aiohttp
import msgspec

from exporter.clock import Clock
from exporter.finished import FinishedHour

log = logging.getLogger(__name__)

PUSH_EVERY_S = 30.0
BACKOFF_FIRST_S, BACKOFF_MOST_S = 1.0, 60.0
TIMEOUT_S = 30.0
IN_FLIGHT_MAX = 4
ROUND_MAX = 16  # hours tried before waiting: a dead aggregator is not asked for each of a thousand
ANSWER_BYTES_MAX = 16 * 1024  # more than the aggregator says in its longest
LOOK_EVERY_S = 1.0

_NEVER = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The open hour's body so far, packed."""

    hour: str
    data: bytes


class Outbox(Protocol):
    """Where finished hours wait. Calls may touch the disk, and then may be slow."""

    def waiting(self) -> list[FinishedHour]: ...
    def load(self, hour: FinishedHour) -> bytes | None: ...
    def acknowledge(self, hour: FinishedHour) -> None: ...
    def refuse(self, hour: FinishedHour, reason: str) -> None: ...


class Disk(Protocol):
    """How the outbox is called: in a thread of its own, or at once."""

    async def __call__(self, work: Callable[[], object]) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """status: None where there was none. text: why."""

    status: int | None
    text: str = ""

    @property
    def result(self) -> str:
        """taken, refused (for ever) or failed (so far)."""
        if self.status == HTTPStatus.OK and self._said.seq is not None:
            return "taken"
        return "refused" if self.status in _NEVER and self._said.problem is not None else "failed"

    @property
    def release_s(self) -> float | None:
        """For how long the aggregator wants NVML let go, for it knows of driver work on this node; None: not."""
        return self._said.release_s

    @property
    def _said(self) -> _Said:
        try:
            return msgspec.json.decode(self.text, type=_Said)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return _Said()  # an answer of no aggregator of ours


class _Said(msgspec.Struct, frozen=True):
    """What an aggregator answers: seq of the body that it has, or the problem with it; never neither."""

    seq: int | None = None
    problem: str | None = None
    release_s: float | None = None


class Door:
    """The aggregator's URL for one node. The token is read anew for each request: Kubernetes replaces it."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, *, cluster: str, node: str, token_file: Path | None
    ) -> None:
        self._session = session
        self._base = f"{url.rstrip('/')}/v1/node-hours/{quote(cluster, safe='')}/{quote(node, safe='')}"
        self._token_file = token_file

    async def put(self, hour: str, data: bytes) -> Answer:
        """One try. Never raises for what the network or the other side does."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        try:
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='ascii').strip()}"
            async with self._session.put(
                f"{self._base}/{hour}",
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                allow_redirects=False,  # the token is for this address and no other
            ) as response:
                text = await response.content.read(ANSWER_BYTES_MAX)
                return Answer(status=response.status, text=text.decode(errors="replace"))
        except (aiohttp.ClientError, OSError, UnicodeDecodeError, ValueError) as error:  # OSError: timeouts too
            return Answer(status=None, text=f"{type(error).__name__}: {error}")


def backoff(rng: random.Random) -> Iterator[float]:
    """Waits, twice as long each time up to a minute, and jittered so that a thousand agents do not return as one."""
    most_s = BACKOFF_FIRST_S
    while True:
        yield most_s * rng.uniform(0.5, 1.0)
        most_s = min(BACKOFF_MOST_S, 2 * most_s)


class Pusher:
    """Two eternal tasks: finished hours at once, the open hour now and then.

    results  answers by their result
    heed     is given what each answer of the aggregator orders
    """

    def __init__(
        self,
        door: Door,
        outbox: Outbox,
        *,
        clock: Clock,
        disk: Disk,
        heed: Callable[[float | None], None] = lambda release_s: None,
    ) -> None:
        self._door = door
        self._outbox = outbox
        self._clock = clock
        self._disk = disk
        self._heed = heed
        self._rng = random.Random()
        self._tried: dict[FinishedHour, int] = {}  # when each was last tried, in rounds
        self._rounds = 0
        self.results = {"taken": 0, "failed": 0, "refused": 0}
        self.refused_hours = 0
        self.taken_at_ms: int | None = None

    async def push_finished(self, *, look_every_s: float = LOOK_EVERY_S) -> None:
        """Push whatever waits, for ever."""
        delays = backoff(self._rng)
        while True:
            if not self._outbox.waiting():
                delays = backoff(self._rng)
                await self._clock.sleep(look_every_s)
            elif await self.push_round():
                delays = backoff(self._rng)
            else:
                await self._clock.sleep(next(delays))

    async def push_round(self) -> bool:
        """Try some hours, those first that were not tried for longest. False: none got anywhere."""
        waiting = self._outbox.waiting()
        self._tried = {hour: self._tried[hour] for hour in waiting if hour in self._tried}
        self._rounds += 1
        chosen = sorted(waiting, key=lambda hour: (self._tried.get(hour, 0), hour))[:ROUND_MAX]
        self._tried |= dict.fromkeys(chosen, self._rounds)
        return any(await _some_at_once(chosen, self._push_one))

    async def push_running(self, running: Callable[[], Running | None], *, every_s: float = PUSH_EVERY_S) -> None:
        """Push the open hour again and again, for ever. One refused is not sent again before it is finished."""
        delays = backoff(self._rng)
        refused_hour = ""
        while True:
            body = running()
            if body is None or body.hour == refused_hour:
                await self._clock.sleep(LOOK_EVERY_S)
                continue
            answer = await self._put(body.hour, body.data)
            if answer.result == "failed":
                await self._clock.sleep(next(delays))
                continue
            if answer.result == "refused":
                refused_hour = body.hour
            delays = backoff(self._rng)
            await self._clock.sleep(every_s * self._rng.uniform(0.8, 1.2))

    async def _push_one(self, hour: FinishedHour) -> bool:
        """Push a finished hour; whether it is done with."""
        try:
            data = await self._disk(lambda: self._outbox.load(hour))
            if not isinstance(data, bytes):
                return True  # gone, or set aside as corrupt
            answer = await self._put(hour.hour, data)
            if answer.result == "taken":
                await self._disk(lambda: self._outbox.acknowledge(hour))
            elif answer.result == "refused":
                await self._disk(lambda: self._outbox.refuse(hour, f"{answer.status}: {answer.text}\n"))
                self.refused_hours += 1
        except OSError as error:
            log.error("spool failed: the hour is sent again", extra={"hour": hour.hour, "error": str(error)})
            return False
        return answer.result != "failed"

    async def _put(self, hour: str, data: bytes) -> Answer:
        answer = await self._door.put(hour, data)
        self.results[answer.result] += 1
        facts = {"hour": hour, "status": answer.status, "answer": answer.text[:200]}
        if answer.result == "taken":
            self.taken_at_ms = self._clock.now_ms()
            self._heed(answer.release_s)
        elif answer.result == "refused":
            log.error("node-hour refused", extra=facts)
        elif answer.result == "failed":
            log.warning("node-hour not pushed", extra=facts)
        return answer


async def _some_at_once(hours: Iterable[FinishedHour], push: Callable[[FinishedHour], Awaitable[bool]]) -> list[bool]:
    slots = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def push_in_slot(hour: FinishedHour) -> bool:
        async with slots:
            return await push(hour)

    return await asyncio.gather(*(push_in_slot(hour) for hour in hours))
