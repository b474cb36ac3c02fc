"""Rating what the store holds: read bodies, the API's word and terms, let the core rate. Nothing is stored here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from chargeback.core.existence import Existence, exist
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Line, Problem
from chargeback.core.lives import PodLife
from chargeback.core.merge import merge
from chargeback.core.metered import Sight
from chargeback.core.nodes import NodePlaces
from chargeback.core.offers import Offer
from chargeback.core.owners.owners import OwnerBook
from chargeback.core.plans.book import PlanBook
from chargeback.core.plans.hour import settle_hour
from chargeback.core.policy import PolicyBook
from chargeback.core.prices.asked import Asked
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import Place
from chargeback.core.rating.payers import Payer, payer
from chargeback.core.rating.rating import rate_node_hour
from chargeback.core.rating.twins import Twins
from chargeback.core.reservations import resolve_reservations
from chargeback.core.second_meter import meter
from chargeback.core.watching import without_watching
from chargeback.store.database import Connection
from chargeback.store.evidence import Evidence, read_evidence
from chargeback.store.known import Known
from chargeback.store.node_hours import NodeHourKey, unrated
from chargeback.store.node_states import places_in, states_of
from chargeback.store.owners import owner_book
from chargeback.store.plan_hours import rated_hours, was_settled
from chargeback.store.plans import plan_book
from chargeback.store.policies import policy_book
from chargeback.store.terms import price_book

# What is read of so many node-hours is in memory at once.
PAGE_NODE_HOURS = 200


@dataclass(slots=True)
class Terms:
    """What rating asks of the ledger, read once a transaction."""

    connection: Connection
    policies: PolicyBook
    prices: PriceBook
    twins: Twins = field(default_factory=Twins)
    _owners: dict[str, OwnerBook] = field(default_factory=dict)
    _plans: dict[str, PlanBook] = field(default_factory=dict)

    def owners(self, cluster: str) -> OwnerBook:
        if cluster not in self._owners:
            self._owners[cluster] = owner_book(self.connection, cluster)
        return self._owners[cluster]

    def plans(self, cluster: str) -> PlanBook:
        if cluster not in self._plans:
            self._plans[cluster] = plan_book(self.connection, cluster)
        return self._plans[cluster]


def read_terms(connection: Connection) -> Terms:
    policies = policy_book(connection)
    assert policies is not None, "the ledger has no policy: `serve` begins it"
    return Terms(connection, policies, price_book(connection, policies.first.timezone))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """A node-hour's lines, and what is to be kept beside them. existed: ms of its cards, by local month."""

    lines: Sequence[Line]
    problems: Sequence[Problem]
    known: Known
    sights: Sequence[Sight]
    differences: Mapping[str, int]
    existed: Mapping[str, int]


def rate(terms: Terms, key: NodeHourKey, evidence: Evidence, *, running: bool = False) -> Rated:
    """Rate one node-hour from its bodies and what the API knows; one that is running only up to what was pushed."""
    bodies, before = evidence.bodies(key), evidence.before(key)
    merged = merge(bodies) if bodies else None
    end = max((body.through for body in bodies), default=0) if running else HOUR_MS
    seen = merged.holdings if merged else ()
    word = evidence.word(key, {h.pod for h in seen if h.pod}, key.hour * HOUR_MS + end if running else 0)
    counted = without_watching(seen, word.lives, key.hour * HOUR_MS)
    existence = exist(key.hour, bodies, merged, before.gpus, end, word.present)
    places = evidence.place(key)
    metered = meter(key.hour, counted, existence, word, before.held, _same_price(terms, key, places), end)
    held, overcommitted = resolve_reservations(key.hour, metered.holdings, word.lives, _memory_mib(existence))
    lines, problems = rate_node_hour(
        key.cluster,
        key.node,
        key.hour,
        held,
        existence,
        terms.owners(key.cluster),
        terms.prices,
        terms.policies,
        end,
        counted=counted,
        cordoned=word.cordoned,
        places=places,
        waivers=evidence.waivers(key),
        twins=terms.twins,
    )
    return Rated(
        lines=lines,
        problems=[*problems, *metered.problems, *overcommitted],
        known=Known(gpus=existence.known, held=metered.held),
        sights=metered.sights,
        differences=metered.differences,
        existed=existence.by_month(key.hour, terms.policies.first.timezone),
    )


def _same_price(terms: Terms, key: NodeHourKey, places: NodePlaces) -> Callable[[Sequence[Offer], PodLife], bool]:
    """Whether a pod would pay the same for each of some slots."""
    start_ms = key.hour * HOUR_MS
    pool, labels = places.at(start_ms)
    # A node's price is the same for each of its cards, but for what its sharing out rounds: as if it had one.
    place = Place(cluster=key.cluster, pool=pool, labels=labels, cards=("",))

    prices = terms.prices

    def asked(offer: Offer, who: Payer) -> Asked:
        return Asked(
            model=offer.model,
            start_ms=start_ms,
            end_ms=start_ms + HOUR_MS,
            place=place,
            profile=offer.profile,
            shared=offer.shares > 1,
            tier=who.tier,
            cost_center=who.cost_center,
        )

    def same(offers: Sequence[Offer], life: PodLife) -> bool:
        at_ms = max(life.bound_ms, start_ms)
        who = payer(terms.owners(key.cluster), prices, life.namespace, life.labels, life.priority_class, at_ms)
        # What part of a card a slot is: by its profile and the number of shares.
        rates = {(prices.holder_rate(asked(each, who)), each.profile, each.shares) for each in offers}
        return len(rates) <= 1

    return same


def _memory_mib(existence: Existence) -> dict[str, int]:
    return {gpu.uuid: gpu.memory_mib for gpu in existence.gpus}


def settle(
    terms: Terms, cluster: str, hour: int, lines: Sequence[Line], *, until: int = HOUR_MS
) -> tuple[list[Line], list[Problem]]:
    """All lines of an hour as its plans bill them. lines: all its charges; until: ms up to which it is rated."""
    nodes = sorted({line.node for line in lines if line.node})
    places = {name: places_in(rows) for name, rows in states_of(terms.connection, cluster, nodes).items()}

    def pool_of(node: str, at_ms: int) -> str:
        return places[node].at(at_ms)[0] if node in places else ""

    plans, owners = terms.plans(cluster), terms.owners(cluster)
    return settle_hour(cluster, hour, lines, plans, owners, terms.prices, terms.policies, pool_of, until=until)


def has_plans(terms: Terms, cluster: str, hour: int) -> bool:
    """Whether a plan is in force in an hour, or was when it was settled last."""
    in_force = terms.plans(cluster).namespaces(hour * HOUR_MS, (hour + 1) * HOUR_MS)
    return bool(in_force) or was_settled(terms.connection, cluster, hour)


def _settle_running(terms: Terms, lines: Sequence[Line]) -> list[Line]:
    """Lines of running hours as their plans bill them, up to where all of an hour's nodes are.

    Where a node of the hour was rated already the plans wait for all of them.
    """
    by_hour = attrgetter("cluster", "hour")
    ordered = sorted(lines, key=by_hour)
    waiting = rated_hours(terms.connection, {by_hour(line) for line in ordered})
    settled: list[Line] = []
    for (cluster, hour), group in groupby(ordered, by_hour):
        mine = list(group)
        if (cluster, hour) in waiting:
            settled += mine
            continue
        ends: dict[str, int] = {}
        for line in mine:
            ends[line.node] = max(ends.get(line.node, 0), line.end_ms)
        found, _ = settle(terms, cluster, hour, mine, until=min(ends.values()) - hour * HOUR_MS)
        settled += found
    return settled


def provisional(connection: Connection, now_ms: int) -> list[Line]:
    """Lines of hours that were never rated, rated up to what was pushed. Nothing is stored.

    With the totals of the same transaction they are the whole ledger: an hour is in the one or in the other.
    """
    if policy_book(connection) is None:
        return []
    terms = read_terms(connection)
    lines: list[Line] = []
    keys = [key for key in unrated(connection) if key.hour * HOUR_MS <= now_ms]
    left: dict[tuple[str, str], tuple[NodeHourKey, Known]] = {}
    for first in range(0, len(keys), PAGE_NODE_HOURS):
        page = keys[first : first + PAGE_NODE_HOURS]
        evidence = read_evidence(connection, page)
        for key in page:
            if (key.cluster, key.node) in left:
                evidence.leave(*left[key.cluster, key.node])
            rated = rate(terms, key, evidence, running=True)
            left[key.cluster, key.node] = (key, rated.known)
            lines += rated.lines
    return _settle_running(terms, lines)
