"""What of a card nobody is charged for: the platform's parts, segment by segment, joined into runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core import lines as ledger
from chargeback.core.node_hour import WHOLE
from chargeback.core.rating.timeline import Device, Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsold:
    """A part of the card on a platform account. weight: of the card; negative on `platform:difference`.

    shares: the numbers of those that nobody holds, where the device is offered in shares; else "".
    """

    account: str
    kind: str
    device: str
    profile: str | None
    weight: Fraction
    shares: str = ""


@dataclass(slots=True)
class Run:
    """The same part for some time. start, end: ms from the hour's start."""

    what: Unsold
    start: int
    end: int

    @property
    def card_ms(self) -> Fraction:
        return self.what.weight * (self.end - self.start)


def rest(segments: Iterable[Segment], card: str) -> list[Run]:
    """What is left of one card, in order of time. segments: of its existence, in order."""
    runs: list[Run] = []
    going: dict[tuple[str, str, str], Run] = {}
    for segment in segments:
        for what in unsold(segment, card):
            key = (what.account, what.kind, what.device)
            run = going.get(key)
            if run is not None and run.end == segment.start and run.what == what:
                run.end = segment.end
            else:
                run = going[key] = Run(what, segment.start, segment.end)
                runs.append(run)
    return runs


def unsold(segment: Segment, card: str) -> list[Unsold]:
    """The platform's parts of the card in a segment: with what is sold they are the whole card, exactly."""
    if (
        len(segment.devices) == len(segment.held) == 1
        and segment.held[0].weight is segment.devices[0].weight is WHOLE
    ):
        return []  # the whole card is held: most cards, most of the time
    charged = sum((held.weight for held in segment.held), Fraction(0))
    sold = sum(segment.sold.values(), Fraction(0))
    # What is more than the card has: one slot with two holders and no claim, or a layout that is too large.
    excess = max(charged - sold, Fraction(0))
    if not segment.observed:
        parts = [_part(ledger.GAP, ledger.GAP_KIND, card, 1 - sold)]
        excess += max(sold - 1, Fraction(0))
    else:
        parts = [_idle(each, segment) for each in segment.devices if segment.sold.get(each.uuid) != each.weight]
        uncovered = 1 - sum((device.weight for device in segment.devices), Fraction(0))
        excess += max(-uncovered, Fraction(0))
        if (why := _unavailable(segment)) is None:
            parts.append(_part(ledger.IDLE, ledger.UNPARTITIONED, card, uncovered))
        else:
            parts.append(_part(ledger.UNAVAILABLE, why, card, uncovered))
    found = [part for part in parts if part.weight > 0]
    if excess:
        found.append(_part(ledger.DIFFERENCE, ledger.EXCESS, card, -excess))
    return found


def _idle(device: Device, segment: Segment) -> Unsold:
    left = device.weight - segment.sold.get(device.uuid, Fraction(0))
    shares = _unheld(device, segment) if device.shares > 1 else ""
    if (why := _unavailable(segment)) is not None:
        return _part(ledger.UNAVAILABLE, why, device.uuid, left, device.profile, shares)
    return _part(
        ledger.IDLE, ledger.UNSOLD if device.shares > 1 else ledger.FREE, device.uuid, left, device.profile, shares
    )


def _unheld(device: Device, segment: Segment) -> str:
    """As many as are left, whatever numbers those have that are held."""
    held = {held.share for held in segment.held if held.device == device.uuid}
    left = [share for share in range(device.shares) if share not in held]
    return ",".join(map(str, left[: max(device.shares - len(held), 0)]))


def _unavailable(segment: Segment) -> str | None:
    """Why what nobody holds could not have been held; None: it could."""
    if not segment.healthy:
        return ledger.UNHEALTHY
    return ledger.CORDONED if segment.cordoned else None


def _part(
    account: str, kind: str, device: str, weight: Fraction, profile: str | None = None, shares: str = ""
) -> Unsold:
    return Unsold(account=account, kind=kind, device=device, profile=profile, weight=weight, shares=shares)
