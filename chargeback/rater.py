"""Rating what the store holds: read bodies and terms, merge, let the core rate. Nothing is stored here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chargeback.core.existence import Existence, KnownGpu, exist
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Line, Problem
from chargeback.core.merge import merge
from chargeback.core.owners import OwnerBook
from chargeback.core.policy import PolicyBook
from chargeback.core.prices import PriceBook
from chargeback.core.rating import rate_node_hour
from chargeback.store.database import Connection
from chargeback.store.node_hours import NodeHourKey, bodies_of, known_before, unrated
from chargeback.store.owners import owner_book
from chargeback.store.terms import policy_book, price_book


@dataclass(slots=True)
class Terms:
    """What rating asks of the ledger, read once a transaction."""

    connection: Connection
    policies: PolicyBook
    prices: PriceBook
    _owners: dict[str, OwnerBook] = field(default_factory=dict)

    def owners(self, cluster: str) -> OwnerBook:
        if cluster not in self._owners:
            self._owners[cluster] = owner_book(self.connection, cluster)
        return self._owners[cluster]


def read_terms(connection: Connection) -> Terms:
    policies = policy_book(connection)
    assert policies is not None, "the ledger has no policy: `serve` begins it"
    return Terms(connection, policies, price_book(connection, policies.first.timezone))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    lines: Sequence[Line]
    problems: Sequence[Problem]
    existence: Existence


def rate(terms: Terms, key: NodeHourKey, before: Sequence[KnownGpu], *, running: bool = False) -> Rated:
    """Rate one node-hour from its bodies; one that is running only up to what was pushed."""
    bodies = bodies_of(terms.connection, key)
    merged = merge(bodies) if bodies else None
    end = max((body.through for body in bodies), default=0) if running else HOUR_MS
    existence = exist(key.hour, bodies, merged, before, end)
    lines, problems = rate_node_hour(
        key.cluster,
        key.node,
        key.hour,
        merged,
        existence,
        terms.owners(key.cluster),
        terms.prices,
        terms.policies,
        end,
    )
    return Rated(lines=lines, problems=problems, existence=existence)


def provisional(connection: Connection, now_ms: int) -> list[Line]:
    """Lines of hours that were never rated, rated up to what was pushed. Nothing is stored.

    With the totals of the same transaction they are the whole ledger: an hour is in the one or in the other.
    """
    if policy_book(connection) is None:
        return []
    terms = read_terms(connection)
    known: dict[NodeHourKey, Sequence[KnownGpu]] = {}
    lines: list[Line] = []
    for key in unrated(connection):
        if key.hour * HOUR_MS > now_ms:
            continue
        earlier = NodeHourKey(cluster=key.cluster, node=key.node, hour=key.hour - 1)
        before = known[earlier] if earlier in known else known_before(connection, key)
        rated = rate(terms, key, before, running=True)
        known[key] = rated.existence.known
        lines += rated.lines
    return lines
