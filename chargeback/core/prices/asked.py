"""What a price is asked for: a device of a card, somewhere, in one rating interval, and who holds it."""

from __future__ import annotations

from dataclasses import dataclass

from chargeback.core.prices.entries import NOWHERE, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """start_ms, end_ms: the whole rating interval, in unix ms. card: a uuid, of the place's cards.

    profile   of a MIG instance; None: the card itself
    shared    whether the slot is a share of its device
    reserved  whether the device is guaranteed: an entry of `term: reserved` goes before all others
    """

    model: str
    start_ms: int
    end_ms: int
    place: Place = NOWHERE
    card: str = ""
    profile: str | None = None
    shared: bool = False
    reserved: bool = False
    tier: str | None = None
    cost_center: str | None = None
