"""From sights to node-hours: the sampling rule, the hours, and a clock that may jump. No I/O; `now` is an argument.

What a beat sees holds until the next beat, if that comes within three beats; otherwise the time between is
unobserved. So time is accounted for when the next beat comes, never ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from exporter import wire
from exporter.account import Account, Writer
from exporter.energy import between, grown, share_out
from exporter.health import XidReading
from exporter.node_hour import node_hour
from exporter.sight import Card, Sight
from exporter.totals import Totals
from exporter.wire import HOUR_MS

HOLDS_BEATS = 3
# A clock that was set back and has gone on from there for so long is right, and was wrong before. Sooner it may be
# the other way round: a machine that has just been started, and whose clock is yet to be put right.
BACK_FOR_MS = 10 * 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose account it is. started_ms: when this instance began; it outlives restarts that find their spool."""

    cluster: str
    node: str
    instance: str
    started_ms: int


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """All that a meter needs to go on as if it had never stopped."""

    account: Account
    sight: Sight
    at_ms: int


class Meter:
    """The account of one node. `advance` is called once a beat; the rest only reads."""

    def __init__(self, *, beat_ms: int, saved: Saved | None = None) -> None:
        self._holds_ms = HOLDS_BEATS * beat_ms
        self._sight = None if saved is None else saved.sight
        self._at_ms = 0 if saved is None else saved.at_ms
        self._writer = None if saved is None else Writer(saved.account)
        self._set_back_to_ms: int | None = None
        self._shown: dict[str, Card] = {}  # in this process's life: what is gone for good is forgotten by a restart
        self.totals = Totals()
        self.steps_back = 0

    def is_cut_off(self, now_ms: int) -> bool:
        """Whether another account must begin, of another instance: this one is of a clock that was ahead.

        Asked once a beat, before `advance`.
        """
        if self._sight is None:
            return False
        if now_ms >= self._at_ms:
            self._set_back_to_ms = None
            return False
        if self._set_back_to_ms is None or now_ms < self._set_back_to_ms:
            self._set_back_to_ms = now_ms
        return now_ms - self._set_back_to_ms >= BACK_FOR_MS

    def cut_off(self, now_ms: int) -> Account | None:
        """Let go of the account, so that the next sight begins another. Returns it, unless it is of times to come."""
        assert self._writer is not None
        account = self._writer.account
        self._sight = self._writer = self._set_back_to_ms = None
        if account.start_ms + account.through > now_ms:
            return None
        if account.start_ms + HOUR_MS <= now_ms:
            account.through = HOUR_MS
        return account

    def advance(self, sight: Sight, now_ms: int) -> list[Account]:
        """Account for the time since the last beat, and hold this sight from now on. Returns the hours finished.

        A sight of no later time than the last is dropped: time must pass before there is anything to account for.
        """
        if self._sight is not None and now_ms <= self._at_ms:
            self.steps_back += now_ms < self._at_ms
            return []
        finished: list[Account] = []
        for card in sight.cards:
            self._shown[card.uuid] = card
        if self._sight is None or self._writer is None:
            self._writer = self._open_hour(now_ms)
        elif now_ms - self._at_ms <= self._holds_ms:
            finished = self._hold(self._writer, self._sight, sight, now_ms)
        else:
            finished = self._skip(self._writer, now_ms)
        self._sight, self._at_ms = sight, now_ms
        for card in sight.cards:
            self._writer.list_card(card)
        return finished

    def add_xids(self, xids: Sequence[XidReading], now_ms: int) -> None:
        """Count errors raised since the last beat, in the hour that is open now. After `advance`."""
        if self._writer is not None:
            for each in xids:
                self._writer.add_xid(each)
        self.totals.add_xids(xids, now_ms=now_ms)

    def save(self) -> Saved | None:
        """The state to go on from. It shares its records with the meter: encode it before the next beat."""
        if self._sight is None or self._writer is None:
            return None
        return Saved(account=self._writer.account, sight=self._sight, at_ms=self._at_ms)

    def _hold(self, writer: Writer, sight: Sight, now: Sight, now_ms: int) -> list[Account]:
        """The last sight held until now. Cut where an hour ends."""
        finished = []
        at_ms, length_ms = self._at_ms, now_ms - self._at_ms
        growths = grown(sight, now, length_ms)
        while at_ms < now_ms:
            start_ms = writer.account.start_ms
            end_ms = min(now_ms, start_ms + HOUR_MS)
            part = between(growths, at_ms - self._at_ms, end_ms - self._at_ms, length_ms)
            energy = share_out(sight, part)
            writer.add(sight, at_ms - start_ms, end_ms - start_ms, energy)
            self.totals.add(sight, end_ms - at_ms, energy, now_ms=now_ms)
            at_ms = end_ms
            if end_ms == start_ms + HOUR_MS:
                finished.append(writer.account)
                writer = self._open_hour(end_ms)
        self._writer = writer
        return finished

    def _skip(self, writer: Writer, now_ms: int) -> list[Account]:
        """Nobody watched. The old hour ends, hours that passed wholly unseen have no account."""
        finished = []
        if now_ms >= writer.account.start_ms + HOUR_MS:
            writer.account.through = HOUR_MS
            finished.append(writer.account)
            writer = self._open_hour(now_ms)
        writer.account.through = now_ms - writer.account.start_ms
        self._writer = writer
        return finished

    def _open_hour(self, at_ms: int) -> Writer:
        start_ms = at_ms - at_ms % HOUR_MS
        writer = Writer(Account(start_ms=start_ms, through=at_ms - start_ms))
        for card in self._shown.values():
            writer.list_card(card)
        return writer


def hour_name(start_ms: int) -> str:
    """`2026-10-03T14Z`."""
    return datetime.fromtimestamp(start_ms // 1000, UTC).strftime("%Y-%m-%dT%HZ")


def body(account: Account, identity: Identity, *, seq: int) -> wire.NodeHour:
    """The account as it is pushed; final once its hour is over."""
    return node_hour(
        account,
        cluster=identity.cluster,
        node=identity.node,
        instance=identity.instance,
        started_ms=identity.started_ms,
        seq=seq,
        hour=hour_name(account.start_ms),
        final=account.through == HOUR_MS,
    )
