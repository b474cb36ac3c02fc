"""What goes wrong on a simulated node: lost cards, a kubelet that is down, errors that the driver raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.health import XidReading
from exporter.scenario_fields import Fields

XID_OFF_THE_BUS = 79
XID_MAX = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something is wrong in [from_ms, until_ms). An XID by itself is of an instant, and nothing is wrong after it.

    gpu  index of the card that is lost, or raises the XID; None: it is the kubelet that is down
    xid  what is raised at from_ms; a card that is lost raises 79
    """

    from_ms: int
    until_ms: int
    gpu: int | None
    xid: int | None = None


def read_event(entry: Fields, cards: int) -> Event:
    """`{at, until, gpu, lost: true}`, `{at, until, kubelet: down}` or `{at, gpu, xid}`; `cards` there are."""
    from_ms = entry.instant_ms("at")
    if entry.has("xid"):
        gpu = entry.whole("gpu", 0, max(cards - 1, 0))
        xid = entry.whole("xid", 1, XID_MAX)
        entry.done()
        return Event(from_ms=from_ms, until_ms=from_ms, gpu=gpu, xid=xid)
    until_ms = entry.instant_ms("until")
    lost = None
    if entry.has("kubelet"):
        entry.text("kubelet", wanted="down", like="down")
    else:
        lost = entry.whole("gpu", 0, max(cards - 1, 0))
        entry.true("lost")
    entry.done()
    if entry.fine and until_ms <= from_ms:
        entry.wrong("until", "a time after `at`")
    return Event(from_ms=from_ms, until_ms=until_ms, gpu=lost, xid=None if lost is None else XID_OFF_THE_BUS)


def lost_cards(events: Sequence[Event], now_ms: int) -> frozenset[int]:
    """Indexes of the cards that are lost now."""
    return frozenset(
        event.gpu for event in events if event.gpu is not None and event.from_ms <= now_ms < event.until_ms
    )


def kubelet_is_down(events: Sequence[Event], now_ms: int) -> bool:
    return any(event.gpu is None and event.from_ms <= now_ms < event.until_ms for event in events)


def raised_xids(
    events: Sequence[Event], uuids: Mapping[int, str], before_ms: int | None, now_ms: int
) -> tuple[XidReading, ...]:
    """What was raised since the reading before; a first reading does not know. uuids: of the cards, by index."""
    return tuple(
        XidReading(gpu=uuids[event.gpu], device=uuids[event.gpu], xid=event.xid, count=1)
        for event in events
        if event.gpu is not None and event.xid is not None
        if before_ms is not None and before_ms < event.from_ms <= now_ms
    )
