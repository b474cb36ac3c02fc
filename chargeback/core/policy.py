"""How to bill, as dated data: changing it today leaves yesterday alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

SHARING = ("configured", "active")
BASES = ("allocation", "usage")
PLANS_FROM = ("annotations", "quota")
FAULTED = ("bill", "credit")
IDLE = ("none", "even", "list")
APPROVER = ("any", "other")

# What each field can differ by: node pools of a cluster, clusters, or nothing.
BY_POOL = ("sharing", "mig_weight", "basis", "faulted")
BY_CLUSTER = ("plans_from", "idle")
# These have no dates either: days, months and money of the whole ledger are theirs.
UNDATED = ("timezone", "currency")
BY_NOTHING = ("approver", *UNDATED)
FIELDS = (*BY_POOL, *BY_CLUSTER, *BY_NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds at one instant and place. version: the greatest that has a say in it; from_ms: the latest of theirs.

    sharing     `configured`: an unsold share is idle; `active`: the held shares carry the whole device
    mig_weight  w of a MIG instance's fraction: 1 by compute slices, 0 by memory slices
    basis       `allocation`: what is held is billed; `usage`: the busy part of it
    plans_from  `quota`: the pair requests./limits. of a ResourceQuota is a plan; else annotations only
    faulted     `bill`: a holder pays while the card is unhealthy; `credit`: not
    idle        who pays for idle cards at a month's close: `none` of the cost centers that held there, all of them
                `even`ly, or by their `list` amounts
    approver    of a month: `any` person, or one `other` than who prepared it
    """

    version: int = 1
    from_ms: int = 0
    sharing: str = "configured"
    mig_weight: Fraction = Fraction(1)
    basis: str = "allocation"
    plans_from: str = "annotations"
    faulted: str = "bill"
    idle: str = "none"
    approver: str = "any"
    timezone: str = "UTC"
    currency: str = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """One version as it was recorded: what it sets from from_ms on, in one scope (cluster, pool; empty: all).

    values: by field; None: from then on as the wider scope says.
    """

    version: int
    from_ms: int
    cluster: str = ""
    pool: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


class PolicyBook:
    """All versions of the policy, to be asked for any instant and place.

    Each field is looked for by itself: the narrowest scope that says it then wins, whenever wider ones changed; in a
    scope the latest from_ms, of the same from_ms the latest version. Before the first version the first holds.
    """

    def __init__(self, versions: Sequence[Policy | PolicyChange]) -> None:
        assert versions, "a ledger has at least the policy it began with"
        changes = sorted(map(_change, versions), key=lambda change: change.version)
        self._changes = [replace(changes[0], from_ms=min(change.from_ms for change in changes)), *changes[1:]]
        self._began = changes[0]
        missing = set(FIELDS) - changes[0].values.keys()
        assert not missing, missing
        self._borders = sorted({change.from_ms for change in self._changes})
        self._resolved: dict[tuple[int, str, str], Policy] = {}

    def at(self, at_ms: int, cluster: str = "", pool: str = "") -> Policy:
        """The policy that holds at an instant, in a node pool of a cluster; before the first version, the first."""
        since_ms = self._borders[max(bisect_right(self._borders, at_ms) - 1, 0)]
        place = (since_ms, cluster, pool)
        if place not in self._resolved:
            self._resolved[place] = self._resolve(*place)
        return self._resolved[place]

    def said(self, at_ms: int, cluster: str = "", pool: str = "") -> dict[str, PolicyChange]:
        """By field, which version says what holds at an instant and place."""
        since_ms = self._borders[max(bisect_right(self._borders, at_ms) - 1, 0)]
        dated = {name: self._say(name, since_ms, cluster, pool)[-1] for name in FIELDS if name not in UNDATED}
        return dated | self._undated()

    @cached_property
    def first(self) -> Policy:
        """As the ledger began; but in the timezone and currency that it has now."""
        undated = {name: change.values[name] for name, change in self._undated().items()}
        return Policy(version=self._began.version, from_ms=self._began.from_ms, **{**self._began.values, **undated})

    @property
    def latest(self) -> Policy:
        """Of the whole ledger, when every version recorded so far holds."""
        return self.at(self._borders[-1])

    @property
    def changes(self) -> Sequence[PolicyChange]:
        """As they were recorded, in that order."""
        return [self._began, *self._changes[1:]]

    def scopes(self) -> list[tuple[str, str]]:
        """Cluster and pool of everything that was ever said, wide ones first."""
        return sorted({(change.cluster, change.pool) for change in self._changes})

    def _resolve(self, at_ms: int, cluster: str, pool: str) -> Policy:
        said = {name: self._say(name, at_ms, cluster, pool) for name in FIELDS}
        said |= {name: [change] for name, change in self._undated().items()}
        deciding = [change for each in said.values() for change in each]
        return Policy(
            version=max(change.version for change in deciding),
            from_ms=max(change.from_ms for change in deciding),
            **{name: each[-1].values[name] for name, each in said.items()},
        )

    def _say(self, name: str, at_ms: int, cluster: str, pool: str) -> list[PolicyChange]:
        """Who has a say in a field: the narrowest scope first; the last one says what it is.

        The first version says everything of the whole ledger.
        """
        asked = [self._latest(name, at_ms, scope) for scope in _scopes(cluster, pool)]
        found = [change for change in asked if change is not None]
        decides = next(i for i, change in enumerate(found) if change.values[name] is not None)
        return found[: decides + 1]

    def _latest(self, name: str, at_ms: int, scope: tuple[str, str]) -> PolicyChange | None:
        held = [
            change
            for change in self._changes
            if (change.cluster, change.pool) == scope and name in change.values and change.from_ms <= at_ms
        ]
        return max(held, key=lambda change: (change.from_ms, change.version), default=None)

    def _undated(self) -> dict[str, PolicyChange]:
        return {name: next(change for change in reversed(self._changes) if name in change.values) for name in UNDATED}


def _scopes(cluster: str, pool: str) -> Iterator[tuple[str, str]]:
    """From narrow to wide."""
    if pool:
        yield cluster, pool
    if cluster:
        yield cluster, ""
    yield "", ""


def _change(version: Policy | PolicyChange) -> PolicyChange:
    """A whole policy is a change of everything."""
    if isinstance(version, PolicyChange):
        return version
    values = {each.name: getattr(version, each.name) for each in fields(version)}
    return PolicyChange(version=values.pop("version"), from_ms=values.pop("from_ms"), values=values)
