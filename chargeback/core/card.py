"""One card's account in one rating interval: what each holder is charged, and what is left for the platform.

E(t) is the exact list amount of a slot from the interval's start to t; a line over [a, b) is ⌊E(b)⌋ − ⌊E(a)⌋.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm

from chargeback.core import lines as ledger
from chargeback.core.hours import HOUR_MS, RatingInterval
from chargeback.core.lines import Line, Problem, sku_of
from chargeback.core.money import MS_PER_HOUR, settle, whole_micros
from chargeback.core.node_hour import Gpu, Holding
from chargeback.core.owners import OwnerBook
from chargeback.core.policy import Policy
from chargeback.core.prices import INSTANCE_HOUR, PriceBook, Rate
from chargeback.core.timeline import Segment
from chargeback.core.unsold import Rest, Run, Unsold

# Device, share and, where a holder's own part counts, who: namespace, pod, container, claim.
Stream = tuple[str, int, tuple[str, ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What all cards of a node-hour have in common. price_span: the whole rating interval in unix ms."""

    cluster: str
    node: str
    hour: int
    interval: RatingInterval
    policy: Policy
    prices: PriceBook
    owners: OwnerBook
    price_span: tuple[int, int]


@dataclass(slots=True)
class Total:
    """What a slot has cost so far, per unit of price: ms of the whole card, and ms of the device itself."""

    card_ms: Fraction = Fraction(0)
    device_ms: Fraction = Fraction(0)

    def add(self, weight: Fraction, device: Fraction, ms: int) -> None:
        self.card_ms += weight * ms
        self.device_ms += weight / device * ms

    def copy(self) -> Total:
        return Total(self.card_ms, self.device_ms)


@dataclass(slots=True)
class Piece:
    """A holding within the interval, with the totals of its slots at both its ends."""

    holding: Holding
    profile: str | None = None
    begin: dict[int, Total] = field(default_factory=dict)
    end: dict[int, Total] = field(default_factory=dict)


class CardAccount:
    """Add the card's segments in order, then close."""

    def __init__(self, context: Context, gpu: Gpu, holdings: Sequence[Holding]) -> None:
        self._context = context
        self._gpu = gpu
        self._pieces = [Piece(holding) for holding in holdings]
        # Under `active` sharing, a claim or a scheduler's parts a holder's own counts; else the slot's, held or not.
        self._own = [
            context.policy.sharing == "active" or bool(holding.claim) or holding.portion != 1 for holding in holdings
        ]
        self._slots = {
            (h.device, share) for h, own in zip(holdings, self._own, strict=True) if not own for share in h.shares
        }
        self._totals: dict[Stream, Total] = {}
        self._rest = Rest(gpu.uuid)
        self._existed = 0

    def add(self, segment: Segment) -> None:
        self._existed += segment.end - segment.start
        self._begin(segment)
        self._accumulate(segment)
        self._end(segment)
        self._rest.add(segment)

    def _stream(self, number: int, share: int) -> Stream:
        holding = self._pieces[number].holding
        who = (*holding.holder, holding.claim or "") if self._own[number] else None
        return (holding.device, share, who)

    def _begin(self, segment: Segment) -> None:
        profiles = {device.uuid: device.profile for device in segment.devices}
        for held in segment.held:
            piece = self._pieces[held.holding]
            if held.share not in piece.begin:
                total = self._totals.setdefault(self._stream(held.holding, held.share), Total())
                piece.begin[held.share] = total.copy()
                piece.profile = profiles[held.device]

    def _accumulate(self, segment: Segment) -> None:
        ms = segment.end - segment.start
        weights = {device.uuid: device.weight for device in segment.devices}
        for device in segment.devices:
            for share in [s for d, s in self._slots if d == device.uuid]:
                total = self._totals.setdefault((device.uuid, share, None), Total())
                total.add(device.weight / device.shares, device.weight, ms)
        for held in segment.held:
            if self._own[held.holding]:
                self._totals[self._stream(held.holding, held.share)].add(held.weight, weights[held.device], ms)

    def _end(self, segment: Segment) -> None:
        for held in segment.held:
            piece = self._pieces[held.holding]
            piece.end[held.share] = self._totals[self._stream(held.holding, held.share)].copy()

    def close(self) -> tuple[list[Line], list[Problem]]:
        """The card's lines and problems. Σ list = ⌊price × existed⌋ and Σ amount = Σ list, or it says so."""
        rate = self._context.prices.list_rate(self._gpu.model, *self._context.price_span)
        made: list[Line] = []
        for piece in self._pieces:
            made += self._holder_lines(piece, rate)
        problems: list[Problem] = []
        if rate is None:
            made += [self._platform_line(run, None, None) for run in self._rest.runs]
            if self._existed:
                problems.append(Problem(kind="unpriced", subject=self._gpu.model, ms=Fraction(self._existed)))
        else:
            made += self._platform_lines(made, rate)
        counted = sum((Fraction(line.gpu_ms_num, line.ms_den) for line in made), Fraction(0))
        if counted != self._existed:
            problems.append(Problem(kind="conservation", subject=self._gpu.uuid, ms=counted - self._existed))
        return made, problems

    def _holder_lines(self, piece: Piece, list_rate: Rate | None) -> list[Line]:
        holding = piece.holding
        start_ms = self._context.hour * HOUR_MS + holding.start
        owner = self._context.owners.at(holding.namespace, start_ms) if holding.namespace else None
        said = holding.labels
        cost_center = said.cost_center or (owner.cost_center if owner else None)
        tier = said.tier or (owner.tier if owner else None)
        rate = self._context.prices.holder_rate(self._gpu.model, piece.profile, tier, *self._context.price_span)
        card_ms = sum((piece.end[s].card_ms - piece.begin[s].card_ms for s in piece.begin), Fraction(0))
        device_ms = sum((piece.end[s].device_ms - piece.begin[s].device_ms for s in piece.begin), Fraction(0))
        by_instance = rate is not None and rate.unit == INSTANCE_HOUR
        line = self._line(
            start=holding.start,
            end=holding.end,
            account=_account(holding, cost_center),
            kind=ledger.HELD,
            device=holding.device,
            profile=piece.profile,
            rate=rate,
            card_ms=card_ms,
            quantity_ms=device_ms if by_instance else card_ms,
        )
        line = replace(
            line,
            shares=",".join(map(str, holding.shares)),
            namespace=holding.namespace,
            pod=holding.pod,
            container=holding.container,
            claim=holding.claim or "",
            cost_center=cost_center,
            team=said.team or (owner.team if owner else None),
            tier=tier,
            owner_version=owner.version if owner else None,
            evidence=holding.evidence,
            busy_ms=holding.busy_ms,
            memory_byte_seconds=holding.memory_byte_seconds,
            energy_mj=holding.energy_mj,
        )
        if list_rate is None or rate is None:
            return [replace(line, account=ledger.UNPRICED)]
        listed = sum(
            _micros(list_rate, piece.end[s].card_ms) - _micros(list_rate, piece.begin[s].card_ms) for s in piece.begin
        )
        amount = sum(
            _micros(rate, piece.end[s].device_ms if by_instance else piece.end[s].card_ms)
            - _micros(rate, piece.begin[s].device_ms if by_instance else piece.begin[s].card_ms)
            for s in piece.begin
        )
        line = replace(line, list_micros=listed, amount_micros=amount)
        return [line] if listed == amount else [line, _discount(line, listed - amount)]

    def _platform_lines(self, holders: Sequence[Line], rate: Rate) -> list[Line]:
        """The platform's lines carry what the holders' lines leave of the card's total, by largest remainder."""
        total = whole_micros(rate.hourly * self._existed / MS_PER_HOUR)
        left = total - sum(line.list_micros or 0 for line in holders)
        if self._rest.runs:
            exact = [rate.hourly * run.card_ms / MS_PER_HOUR for run in self._rest.runs]
            parts = settle(left, exact)
            return [self._platform_line(run, rate, part) for run, part in zip(self._rest.runs, parts, strict=True)]
        if left == 0:
            return []
        interval = self._context.interval
        nothing = Unsold(
            account=ledger.IDLE, kind=ledger.ROUNDING, device=self._gpu.uuid, profile=None, weight=Fraction(0)
        )
        run = Run(nothing, interval.start, interval.end)
        return [self._platform_line(run, rate, left)]

    def _platform_line(self, run: Run, rate: Rate | None, micros: int | None) -> Line:
        line = self._line(
            start=run.start,
            end=run.end,
            account=run.what.account if rate is not None else ledger.UNPRICED,
            kind=run.what.kind,
            device=run.what.device,
            profile=run.what.profile,
            rate=rate,
            card_ms=run.card_ms,
            quantity_ms=run.card_ms,
        )
        return replace(line, list_micros=micros, amount_micros=micros)

    def _line(
        self,
        *,
        start: int,
        end: int,
        account: str,
        kind: str,
        device: str,
        profile: str | None,
        rate: Rate | None,
        card_ms: Fraction,
        quantity_ms: Fraction,
    ) -> Line:
        context = self._context
        den = lcm(card_ms.denominator, quantity_ms.denominator)
        return Line(
            cluster=context.cluster,
            node=context.node,
            hour=context.hour,
            day=context.interval.day,
            month=context.interval.month,
            start_ms=context.hour * HOUR_MS + start,
            end_ms=context.hour * HOUR_MS + end,
            account=account,
            kind=kind,
            device=device,
            parent=self._gpu.uuid,
            model=self._gpu.model,
            profile=profile,
            sku=sku_of(self._gpu.model, profile),
            unit=rate.unit if rate else None,
            unit_price=rate.unit_amount if rate else None,
            price_version=context.prices.version,
            policy_version=context.policy.version,
            gpu_ms_num=int(card_ms * den),
            quantity_ms_num=int(quantity_ms * den),
            ms_den=den,
            list_micros=None,
            amount_micros=None,
        )


def _micros(rate: Rate, ms: Fraction) -> int:
    return whole_micros(rate.hourly * ms / MS_PER_HOUR)


def _account(holding: Holding, cost_center: str | None) -> str:
    if not holding.namespace:
        return ledger.UNATTRIBUTED
    return cost_center or ledger.UNOWNED


def _discount(line: Line, micros: int) -> Line:
    """What the holder's price takes off the list amount (adds to it, if negative): no time, list amount 0."""
    return replace(
        line,
        account=ledger.DISCOUNT,
        kind=ledger.DISCOUNT_KIND,
        gpu_ms_num=0,
        quantity_ms_num=0,
        ms_den=1,
        busy_ms=None,
        memory_byte_seconds=None,
        energy_mj=None,
        list_micros=0,
        amount_micros=micros,
    )
