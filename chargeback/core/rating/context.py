"""What all cards of a node have in common in one rating interval: the hour, the place, and the terms of billing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chargeback.core.hours import RatingInterval
from chargeback.core.owners.owners import OwnerBook
from chargeback.core.policy import Policy
from chargeback.core.prices.asked import Asked
from chargeback.core.prices.book import PriceBook, Rate
from chargeback.core.prices.entries import NODE_HOUR, Place
from chargeback.core.rating.waivers import Waiver

# Model, profile, tier, cost center, and whether the slot is a share: what a holder's price depends on.
_Key = tuple[str, str | None, str | None, str | None, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """price_span: the whole rating interval in unix ms, also while it is still running.

    A price is asked for once a node, but where a node's price is shared among its cards: there it is each card's own.
    """

    cluster: str
    node: str
    hour: int
    interval: RatingInterval
    policy: Policy
    prices: PriceBook
    owners: OwnerBook
    place: Place
    price_span: tuple[int, int]
    waivers: Sequence[Waiver] = ()
    _list_rates: dict[str, Rate | None] = field(default_factory=dict)
    _rates: dict[_Key, Rate | None] = field(default_factory=dict)

    def list_rate(self, model: str, card: str) -> Rate | None:
        if model in self._list_rates:
            return self._list_rates[model]
        start_ms, end_ms = self.price_span
        rate = self.prices.list_rate(
            Asked(model=model, start_ms=start_ms, end_ms=end_ms, place=self.place, card=card)
        )
        if rate is None or rate.unit != NODE_HOUR:
            self._list_rates[model] = rate
        return rate

    def holder_rate(
        self, model: str, profile: str | None, tier: str | None, cost_center: str | None, shared: bool, card: str
    ) -> Rate | None:
        if not self.prices.discounts:
            cost_center = None
        key = (model, profile, tier, cost_center, shared)
        if key in self._rates:
            return self._rates[key]
        start_ms, end_ms = self.price_span
        asked = Asked(
            model=model,
            start_ms=start_ms,
            end_ms=end_ms,
            place=self.place,
            card=card,
            profile=profile,
            shared=shared,
            tier=tier,
            cost_center=cost_center,
        )
        rate = self.prices.holder_rate(asked)
        if rate is None or rate.unit != NODE_HOUR:
            self._rates[key] = rate
        return rate
