"""What stands in a price book: prices, factors of tiers, discounts, tiers of PriorityClasses; all dated, half-open.

An entry names what it is for; what it does not name, it is for all of. Of one key no two entries hold at once
(`files/prices.py` checks that), so that the ranks below leave nothing to chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

GPU_HOUR, INSTANCE_HOUR, NODE_HOUR, GPU_MONTH = "gpu-hour", "instance-hour", "node-hour", "gpu-month"
UNITS = (GPU_HOUR, INSTANCE_HOUR, NODE_HOUR, GPU_MONTH)
EXCLUSIVE, SHARED = "exclusive", "shared"
SHARINGS = (EXCLUSIVE, SHARED)
ON_DEMAND, RESERVED = "on-demand", "reserved"
TERMS = (ON_DEMAND, RESERVED)

Labels = tuple[tuple[str, str], ...]
# What tells two entries of one kind apart, and in bytewise order of it: (field, value) of each field named.
Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a card is. labels: of its node, that prices may name, by key.

    cards: uuids of the node's cards in the rating interval, bytewise: they share a price for the whole node.
    """

    cluster: str = ""
    pool: str = ""
    labels: Labels = ()
    cards: tuple[str, ...] = ()


NOWHERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """Holds in [from_ms, until_ms), unix ms; None: for ever."""

    from_ms: int = 0
    until_ms: int | None = None

    def holds(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(Dated):
    """Micros of a unit, valid in [from_ms, until_ms). model: None for a price of any node (`node-hour`) only.

    node_labels: in bytewise order of keys; a node must have them all.
    """

    model: str | None
    unit: str
    amount: Fraction
    profile: str | None = None
    tier: str | None = None
    sharing: str | None = None
    term: str | None = None
    cluster: str | None = None
    pool: str | None = None
    node_labels: Labels = ()

    @property
    def is_list(self) -> bool:
        """Whether it can be a card's own price: it may say where, but not for whom or for what part."""
        return self.profile is None and self.tier is None and self.sharing is None and self.term is None

    @property
    def key(self) -> Key:
        named = (
            ("model", self.model), ("profile", self.profile), ("tier", self.tier), ("term", self.term),
            ("sharing", self.sharing), ("cluster", self.cluster), ("pool", self.pool),
        )  # fmt: skip
        labels = tuple((f"node_labels.{key}", value) for key, value in self.node_labels)
        return (*_given(named), *labels)

    @property
    def rank(self) -> tuple[object, ...]:
        """The order of precedence: of those that match, the one of the least rank applies."""
        return (
            self.term != RESERVED,
            self.profile is None,
            self.tier is None,
            self.term is None,
            self.sharing is None,
            -len(self.node_labels),
            self.pool is None,
            self.cluster is None,
            self.model is None,
            _bytewise(self.key),
        )

    def is_at(self, place: Place, card: str) -> bool:
        return (
            self.cluster in (None, place.cluster)
            and self.pool in (None, place.pool)
            and all(label in place.labels for label in self.node_labels)
            and (self.unit != NODE_HOUR or card in place.cards)
        )

    def meets(self, other: Entry) -> bool:
        """Whether there may be a card, and an instant, that both are for."""
        together = (
            None in (pair := (getattr(self, field), getattr(other, field, None))) or pair[0] == pair[1]
            for field in ("model", "cluster", "pool")
        )
        labels = dict(self.node_labels)
        alike = (labels.get(key, value) == value for key, value in getattr(other, "node_labels", ()))
        begins = other.until_ms is None or self.from_ms < other.until_ms
        return begins and (self.until_ms is None or other.from_ms < self.until_ms) and all(together) and all(alike)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFactor(Dated):
    """Times what a price that names no tier says, for holders of this tier."""

    tier: str
    factor: Fraction
    model: str | None = None
    cluster: str | None = None
    pool: str | None = None

    @property
    def key(self) -> Key:
        return _given((("tier", self.tier), ("model", self.model), ("cluster", self.cluster), ("pool", self.pool)))

    @property
    def rank(self) -> tuple[object, ...]:
        return (self.pool is None, self.cluster is None, self.model is None, _bytewise(self.key))

    def matches(self, tier: str | None, model: str, place: Place) -> bool:
        return (
            self.tier == tier
            and self.model in (None, model)
            and self.cluster in (None, place.cluster)
            and self.pool in (None, place.pool)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount(Dated):
    """Times what a cost center's holders would pay, after the tier's factor. contract: its name, for people."""

    cost_center: str
    factor: Fraction
    contract: str | None = None
    model: str | None = None
    cluster: str | None = None

    @property
    def key(self) -> Key:
        return _given((("cost_center", self.cost_center), ("model", self.model), ("cluster", self.cluster)))

    @property
    def rank(self) -> tuple[object, ...]:
        return (self.cluster is None, self.model is None, _bytewise(self.key))

    def matches(self, cost_center: str | None, model: str, place: Place) -> bool:
        return (
            self.cost_center == cost_center and self.model in (None, model) and self.cluster in (None, place.cluster)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTier(Dated):
    """The tier of pods of a PriorityClass."""

    priority_class: str
    tier: str

    @property
    def key(self) -> Key:
        return (("priority_class", self.priority_class),)


Entry = Price | TierFactor | Discount | ClassTier


def name_of(entry: Entry) -> str:
    """For people: `model NVIDIA H100 NVL, tier spot, zone=a`."""
    label = "node_labels."
    named = (
        f"{field.removeprefix(label)}={value}" if field.startswith(label) else f"{field} {value}"
        for field, value in entry.key
    )
    return ", ".join(named) or "any node"


def _given(named: tuple[tuple[str, str | None], ...]) -> Key:
    return tuple((field, value) for field, value in named if value is not None)


def _bytewise(key: Key) -> tuple[tuple[str, bytes], ...]:
    return tuple((field, value.encode()) for field, value in key)
