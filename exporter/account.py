"""The open hour of a node as growing records. No clock, no rules of when; node_hour.py makes a body of it.

What the meter adds is one sight over one interval; a record whose sight goes on is extended, any other begins anew.
Sums are exact (millionths × ms, bytes × ms) and rounded down only in a body, so it does not matter where an agent
was cut off. The whole account is plain values, and the spool holds it as it is.
"""

from __future__ import annotations

import msgspec

from exporter.energy import UNKNOWN, Energy
from exporter.health import XidReading
from exporter.sight import Card, Claimant, Instance, SeenHolding, SeenUse, Sight
from exporter.wire import HOUR_MS

XID_CODES_MAX = 255  # of a card in an hour, beside XID_UNKNOWN: what the wire takes
XID_UNKNOWN = "999"  # NVML's own code for it
USES_MAX = 3072  # by container, in an hour; with one a device for the rest it is less than the wire takes


class Growing(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record that is still written. Times are ms from the start of the hour."""


class Span(Growing, array_like=True):
    start: int
    end: int


class LayoutSpan(Growing):
    start: int
    end: int
    mig: bool
    shares: int


class CardAccount(Growing):
    """One card's hour.

    card            as it was last seen
    energy_mj       of the time in which it was known, None where that was never
    idle_energy_mj  its part that nobody held
    xids            how often each was raised
    """

    card: Card
    observed: list[Span] = []
    unhealthy: list[Span] = []
    layouts: list[LayoutSpan] = []
    energy_mj: int | None = None
    idle_energy_mj: int | None = None
    xids: dict[str, int] = {}


class InstanceSpan(Growing):
    gpu: str
    instance: Instance
    start: int
    end: int


class HoldingSpan(Growing):
    """busy_ppm_ms, memory_byte_ms and energy_mj are None where unknown, and then for the whole record."""

    device: str
    shares: tuple[int, ...]
    holder: Claimant
    evidence: str
    start: int
    end: int
    pod_uid: str | None = None
    busy_ppm_ms: int | None = None
    memory_byte_ms: int | None = None
    memory_peak_bytes: int | None = None
    energy_mj: int | None = None


class UseSum(Growing):
    """All use of a device by one container in this hour; what was unknown for a moment is unknown for the hour."""

    use: SeenUse
    busy_ppm_ms: int | None = 0
    memory_byte_ms: int | None = 0


class Account(Growing):
    """start_ms: unix ms of the hour. through: accounted up to here."""

    start_ms: int
    through: int = 0
    cards: dict[str, CardAccount] = {}
    instances: list[InstanceSpan] = []
    holdings: list[HoldingSpan] = []
    uses: list[UseSum] = []


class Writer:
    """Adds to an account. It only remembers where the records are that may go on."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._instances = {span.instance.uuid: span for span in account.instances}
        self._holdings = {(span.device, span.shares, span.holder): span for span in account.holdings}
        self._uses = {_use_key(total.use): total for total in account.uses}

    def list_card(self, card: Card) -> CardAccount:
        """Have the card in the hour's body, whether it is observed or not."""
        found = self.account.cards.get(card.uuid)
        if found is None:
            found = self.account.cards[card.uuid] = CardAccount(card=card)
        elif found.card is not card:
            found.card = _latest(found.card, card)
        return found

    def add_xid(self, raised: XidReading) -> None:
        """Of a card that is listed; of another there is nothing to say it of."""
        if (found := self.account.cards.get(raised.gpu)) is None:
            return
        code = str(raised.xid)
        if code not in found.xids and len(found.xids) >= XID_CODES_MAX:
            code = XID_UNKNOWN
        found.xids[code] = found.xids.get(code, 0) + raised.count

    def add(self, sight: Sight, start: int, end: int, energy: Energy = UNKNOWN) -> None:
        """Account for [start, end) as the sight says; afterwards the account goes through to its end.

        energy  of the same sight and interval
        """
        assert self.account.through <= start < end <= HOUR_MS, (self.account.through, start, end)
        self.account.through = end
        for card in sight.cards:
            found = self.list_card(card)
            if sight.observed:
                _extend(found.observed, start, end)
                if not card.healthy:
                    _extend(found.unhealthy, start, end)
                self._add_layout(found, card, start, end)
            if card.uuid in energy.cards:
                found.energy_mj = (found.energy_mj or 0) + energy.cards[card.uuid]
                found.idle_energy_mj = (found.idle_energy_mj or 0) + energy.idle[card.uuid]
        for position, holding in enumerate(sight.holdings):
            self._add_holding(holding, start, end, energy.of_holding(position))
        for use in sight.uses:
            self._add_use(use, end - start)

    def _add_layout(self, found: CardAccount, card: Card, start: int, end: int) -> None:
        shares = 1 if card.mig else card.shares
        last = found.layouts[-1] if found.layouts else None
        if last and last.end == start and last.mig == card.mig and last.shares == shares:
            last.end = end
        else:
            found.layouts.append(LayoutSpan(start=start, end=end, mig=card.mig, shares=shares))
        for instance in card.instances:
            before = self._instances.get(instance.uuid)
            if before and before.end == start and before.gpu == card.uuid and before.instance == instance:
                before.end = end
            else:
                span = InstanceSpan(gpu=card.uuid, instance=instance, start=start, end=end)
                self._instances[instance.uuid] = span
                self.account.instances.append(span)

    def _add_holding(self, seen: SeenHolding, start: int, end: int, energy_mj: int | None) -> None:
        key = (seen.device, seen.shares, seen.holder)
        span = self._holdings.get(key)
        if span is None or not _goes_on(span, seen, start, energy_mj):
            span = HoldingSpan(
                device=seen.device,
                shares=seen.shares,
                holder=seen.holder,
                evidence=seen.evidence,
                start=start,
                end=end,
                busy_ppm_ms=None if seen.busy_ppm is None else 0,
                memory_byte_ms=None if seen.memory_bytes is None else 0,
                memory_peak_bytes=seen.memory_bytes,
                energy_mj=None if energy_mj is None else 0,
            )
            self._holdings[key] = span
            self.account.holdings.append(span)
        span.end = end
        span.pod_uid = seen.pod_uid or span.pod_uid  # learnt late
        if seen.busy_ppm is not None and span.busy_ppm_ms is not None:
            span.busy_ppm_ms += seen.busy_ppm * (end - start)
        if seen.memory_bytes is not None and span.memory_byte_ms is not None:
            span.memory_byte_ms += seen.memory_bytes * (end - start)
            peak_bytes = seen.memory_bytes if seen.memory_peak_bytes is None else seen.memory_peak_bytes
            span.memory_peak_bytes = max(span.memory_peak_bytes or 0, peak_bytes)
        if energy_mj is not None and span.energy_mj is not None:
            span.energy_mj += energy_mj

    def _add_use(self, use: SeenUse, length_ms: int) -> None:
        key = _use_key(use)
        if key not in self._uses and len(self._uses) >= USES_MAX:
            use = SeenUse(device=use.device, busy_ppm=use.busy_ppm, memory_bytes=use.memory_bytes)
            key = _use_key(use)
        total = self._uses.get(key)
        if total is None:
            total = self._uses[key] = UseSum(use=use)
            self.account.uses.append(total)
        total.busy_ppm_ms = _plus(total.busy_ppm_ms, use.busy_ppm, length_ms)
        total.memory_byte_ms = _plus(total.memory_byte_ms, use.memory_bytes, length_ms)


def _goes_on(span: HoldingSpan, seen: SeenHolding, start: int, energy_mj: int | None) -> bool:
    """Whether the record may be extended: nothing between, and what is known of it stays known."""
    return (
        span.end == start
        and span.evidence == seen.evidence
        and (span.busy_ppm_ms is None) == (seen.busy_ppm is None)
        and (span.memory_byte_ms is None) == (seen.memory_bytes is None)
        and (span.energy_mj is None) == (energy_mj is None)
        and (span.pod_uid is None or seen.pod_uid is None or span.pod_uid == seen.pod_uid)
    )


def _latest(before: Card, now: Card) -> Card:
    """What a card said once, it need not say again: its instances were accounted for by it."""
    if now.slices_max is None and before.slices_max is not None:
        return msgspec.structs.replace(now, slices_max=before.slices_max, memory_slices=before.memory_slices)
    return now


def _extend(spans: list[Span], start: int, end: int) -> None:
    if spans and spans[-1].end == start:
        spans[-1].end = end
    else:
        spans.append(Span(start=start, end=end))


def _use_key(use: SeenUse) -> tuple[str, str | None, str | None]:
    return (use.device, use.container, use.runtime)


def _plus(total: int | None, value: int | None, length_ms: int) -> int | None:
    return None if total is None or value is None else total + value * length_ms
