"""Whose a namespace is, and since when: cost center, team and tier, with history."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from chargeback.core.lines import UNOWNED
from chargeback.core.rating.dimensions import NO_DIMENSIONS, Dimensions, Labels

FIELDS = ("cost_center", "team", "tier")

# As long as a label's value can be.
NAME_CHARS_MAX = 63

_LABEL_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_PART = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:(?P<prefix>{_DNS_PART}(?:\.{_DNS_PART})*)/)?{_LABEL_NAME}")
_PREFIX_CHARS_MAX = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One version of a namespace's owner, valid in [from_ms, until_ms). Absent labels are None.

    dimensions: the configured labels of namespaces that it has, by key.
    """

    namespace: str
    from_ms: int
    until_ms: int | None = None
    cost_center: str | None = None
    team: str | None = None
    tier: str | None = None
    version: int = 0
    dimensions: Labels = ()


class OwnerBook:
    """The owners of one cluster's namespaces, to be asked for any instant."""

    def __init__(self, owners: Iterable[Owner]) -> None:
        self._of: dict[str, list[Owner]] = {}
        for owner in sorted(owners, key=lambda owner: (owner.namespace, owner.from_ms)):
            self._of.setdefault(owner.namespace, []).append(owner)

    def at(self, namespace: str, at_ms: int) -> Owner | None:
        """The owner at an instant; None where the namespace did not exist, as far as we know."""
        for owner in reversed(self._of.get(namespace, ())):
            if owner.from_ms <= at_ms:
                return owner if owner.until_ms is None or at_ms < owner.until_ms else None
        return None

    def changes(self, namespace: str, start_ms: int, end_ms: int) -> list[int]:
        """Instants strictly inside (start, end) at which the owner changes."""
        instants = {
            at
            for owner in self._of.get(namespace, ())
            for at in (owner.from_ms, owner.until_ms)
            if at is not None and start_ms < at < end_ms
        }
        return sorted(instants)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace as the API shows it now, and after the rules.

    labelled_ms: when one of the owner labels or dimensions was last written. rule: the name of the rule that gave it
    the fields in `ruled`; None where no rule did.
    """

    name: str
    uid: str | None = None
    created_ms: int | None = None
    labelled_ms: int | None = None
    cost_center: str | None = None
    team: str | None = None
    tier: str | None = None
    dimensions: Labels = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    rule: str | None = None
    ruled: frozenset[str] = frozenset()


class OwnerFields(TypedDict):
    """What labels say; None where they say nothing."""

    cost_center: str | None
    team: str | None
    tier: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelKeys:
    """The label keys that name an owner, and those that are kept as dimensions."""

    cost_center: str = "cost-center"
    team: str = "team"
    tier: str = "gpu-tier"
    dimensions: Dimensions = NO_DIMENSIONS

    @property
    def of_namespaces(self) -> frozenset[str]:
        """All keys that a namespace's history is made of."""
        return frozenset({self.cost_center, self.team, self.tier, *self.dimensions.namespace})

    def read(self, labels: Mapping[str, str]) -> OwnerFields:
        """The three owner fields; an empty label counts as absent."""
        return {
            "cost_center": labels.get(self.cost_center) or None,
            "team": labels.get(self.team) or None,
            "tier": labels.get(self.tier) or None,
        }


def check_label_key(text: str) -> str:
    """A label key as Kubernetes takes it: a name, or a DNS prefix and a name. Raises ValueError."""
    match = _LABEL_KEY.fullmatch(text)
    if match is None or len(match["prefix"] or "") > _PREFIX_CHARS_MAX:
        raise ValueError("want a Kubernetes label key such as team or billing.example.com/team")
    return text


def check_name(text: str) -> str:
    """A cost center, team or tier that people or rules may give. Raises ValueError.

    Longer than a label's value it would not fit beside those; the names of the ledger's own accounts are taken.
    """
    if not (0 < len(text) <= NAME_CHARS_MAX and text.isprintable() and text == text.strip()):
        raise ValueError(f"want 1 to {NAME_CHARS_MAX} printable characters, without blanks around them")
    if text == UNOWNED or text.startswith("platform:"):
        raise ValueError("is an account of the ledger's own: want another name")
    return text
