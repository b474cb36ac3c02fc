"""When NVML is let go for driver work, and when it is taken again. No I/O: who beats asks, and does it.

A card cannot be reset, cut into other MIG instances or given another driver while somebody has NVML open. Every
release is bounded: the account goes on meanwhile, but says of no card that it works, and of no holder what he uses.
"""

from __future__ import annotations

import logging

from exporter.clock import Clock

log = logging.getLogger(__name__)

DEFAULT_S = 120  # cutting all cards of a node into other instances takes less
MAX_S = 30 * 60  # a driver that is not back by then needs people


class Release:
    """One agent's release. An order replaces the one before it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s: float | None = None
        self._by = ""
        self._announced_s: float | None = None  # since when the aggregator has ordered without a break
        self._deaf = False  # to the aggregator, until it has ceased to order

    @property
    def left_s(self) -> float:
        """Seconds until NVML is taken again; 0 where it is not released."""
        return 0.0 if self._until_s is None else max(0.0, self._until_s - self._clock.monotonic_s())

    @property
    def active(self) -> bool:
        """Whether NVML is to be let go now."""
        return self.left_s > 0

    def order(self, seconds: float, *, by: str) -> None:
        """Release for so long from now. Raises ValueError outside of (0, MAX_S]."""
        if not 0 < seconds <= MAX_S:
            raise ValueError(f"{seconds:g} s: want more than 0 and at most {MAX_S} s")
        if not self.active:
            log.info("NVML is released for driver work", extra={"for_s": seconds, "by": by})
        self._until_s, self._by = self._clock.monotonic_s() + seconds, by

    def end(self, *, by: str) -> None:
        """Take NVML again at once, whatever the aggregator goes on to order."""
        self._deaf = self._announced_s is not None
        self._end(by)

    def heed(self, seconds: float | None) -> None:
        """What the answer to a push orders; None: nothing, so that what it ordered before has ended.

        Driver work that is announced for longer than one release may last has got stuck: it is not heeded any more
        until it has been taken back.
        """
        if seconds is None:
            self._announced_s, self._deaf = None, False
            if self._by == "aggregator":
                self._end("aggregator")
            return
        now_s = self._clock.monotonic_s()
        self._announced_s = now_s if self._announced_s is None else self._announced_s
        if self._deaf:
            return
        if now_s + seconds > self._announced_s + MAX_S:
            self._deaf = True
            log.warning("driver work is announced for too long", extra={"max_s": MAX_S})
            return
        try:
            self.order(seconds, by="aggregator")
        except ValueError as error:
            log.warning("the aggregator's order is not heeded", extra={"problem": str(error)})

    def _end(self, by: str) -> None:
        if self.active:
            log.info("the release ends", extra={"by": by})
        self._until_s, self._by = None, ""
