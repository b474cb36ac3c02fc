"""Runs collectors: how long each took, whether it succeeded, and no failure that spoils the others.

The one place in the agent, beside the top of `main`, that catches every exception: whatever a driver or a kubelet
does, the beat goes on with what the others saw.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from exporter.clock import Clock
from exporter.reading import CollectorResult
from exporter.worker import Calls, Wedged

T = TypeVar("T")
log = logging.getLogger(__name__)


class Runner:
    """Runs one collector, again and again.

    fatal  what no later beat can mend: it ends the process, and Kubernetes starts another
    """

    def __init__(
        self,
        name: str,
        calls: Calls,
        *,
        clock: Clock,
        deadline_s: float,
        abandon: Callable[[], None] | None = None,
        fatal: tuple[type[Exception], ...] = (),
    ) -> None:
        self._name = name
        self._calls = calls
        self._clock = clock
        self._deadline_s = deadline_s
        self._abandon = abandon
        self._fatal = fatal
        self._error = ""
        self._turn = asyncio.Lock()  # a call's time counts from its beginning, not from when it was asked for

    async def run(self, collect: Callable[[], T]) -> tuple[T | None, CollectorResult]:
        """What the collector saw, None where it failed, and how it went. One at a time."""
        async with self._turn:
            return await self._run(collect)

    async def _run(self, collect: Callable[[], T]) -> tuple[T | None, CollectorResult]:
        started_s = self._clock.monotonic_s()
        value, error = None, ""
        try:
            value = await self._calls.call(collect, timeout_s=self._deadline_s)
        except self._fatal:
            raise
        except Exception as raised:  # noqa: BLE001 - see the head of this file
            error = f"{type(raised).__name__}: {raised}"
            if isinstance(raised, Wedged) and self._abandon is not None:
                self._abandon()
        if error and error != self._error:  # once, not each beat; the metric stays
            log.error("collector failed", extra={"collector": self._name, "error": error})
        elif self._error and not error:
            log.info("collector works again", extra={"collector": self._name})
        self._error = error
        duration_s = self._clock.monotonic_s() - started_s
        return value, CollectorResult(name=self._name, duration_s=duration_s, success=not error, error=error)
