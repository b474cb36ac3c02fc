"""What the cluster says now, in tables, and what of it goes into the ledger's history: owners, pods and nodes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields

from chargeback.clock import Clock
from chargeback.cluster.api import ClusterApi
from chargeback.cluster.kinds import kinds
from chargeback.core.claims import Claim, DeviceClass, DeviceSlice
from chargeback.core.nodes import NODE_KEYS, Node, NodeKeys
from chargeback.core.owners.owners import LabelKeys, Namespace
from chargeback.core.owners.rules import NO_RULES, OwnerRules
from chargeback.core.pods import Pod
from chargeback.core.quota.limit_ranges import LimitRange
from chargeback.core.quota.refusals import Refusal
from chargeback.core.quota.specs import PriorityClass, QuotaSpec
from chargeback.store.database import Connection, Database, DatabaseUnavailable
from chargeback.store.node_states import note_nodes
from chargeback.store.owners import note_namespaces, one_at_a_time
from chargeback.store.pods import GonePod, note_pods, note_watching
from chargeback.tasks.note_plans import PlanLook, PlanNoter
from chargeback.tasks.reflect import Changes, Table, keep_reflecting

log = logging.getLogger(__name__)

# Changes that come together are noted together; and how far the API was followed is noted at least so often.
TOGETHER_S, EVERY_S = 0.5, 10.0


@dataclass(slots=True)
class ClusterTables:
    """The cluster as it was last known, a table a kind, named as the API names it.

    awaited  those that are followed on the API
    noted    the ledger's history has what all of them said at first
    wake     set when one changes
    """

    namespaces: Table[Namespace] = field(default_factory=Table)
    resourcequotas: Table[QuotaSpec] = field(default_factory=Table)
    nodes: Table[Node] = field(default_factory=Table)
    pods: Table[Pod] = field(default_factory=lambda: Table(tells=True))
    limitranges: Table[LimitRange] = field(default_factory=Table)
    priorityclasses: Table[PriorityClass] = field(default_factory=Table)
    resourceclaims: Table[Claim] = field(default_factory=Table)
    resourceslices: Table[DeviceSlice] = field(default_factory=Table)
    deviceclasses: Table[DeviceClass] = field(default_factory=Table)
    events: Table[Refusal] = field(default_factory=Table)
    awaited: set[str] = field(default_factory=set)
    noted: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for table in self.by_name().values():
            table.wake = self.wake.set

    def by_name(self) -> dict[str, Table[object]]:
        others = ("awaited", "noted", "wake")
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in others}

    @property
    def unread(self) -> list[str]:
        """Followed, and neither read yet nor refused."""
        by_name = self.by_name()
        return sorted(n for n in self.awaited if by_name[n].read_ms is None and by_name[n].lack is None)

    @property
    def read_ms(self) -> dict[str, int]:
        """When each table that was ever whole was last known to be."""
        return {name: table.read_ms for name, table in self.by_name().items() if table.read_ms is not None}


async def keep_following(
    api: ClusterApi,
    tables: ClusterTables,
    keys: LabelKeys,
    own_labels: frozenset[str],
    clock: Clock,
    node_keys: NodeKeys = NODE_KEYS,
) -> None:
    """Follow the awaited tables on the API. Ends only by cancellation."""
    by_name = tables.by_name()
    async with asyncio.TaskGroup() as group:
        for kind in kinds(keys, own_labels, node_keys):
            if kind.name in tables.awaited:
                group.create_task(keep_reflecting(api, kind, by_name[kind.name], clock))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """The tables at one instant, for a thread of its own, while they go on changing. …_ms: when each was whole."""

    namespaces: list[Namespace]
    namespaces_ms: int | None
    rules: OwnerRules
    nodes: list[Node]
    nodes_ms: int | None
    pods: Changes[Pod]
    pods_there: frozenset[str] | None
    pods_ms: int | None
    watching: frozenset[tuple[str, str]]
    plans: PlanLook | None


@dataclass(slots=True, kw_only=True)
class Noter:
    """Takes into the ledger's history what the tables learn.

    source  where the namespaces come from
    now_ms  the time now by the clock that dates them
    """

    database: Database
    cluster: str
    tables: ClusterTables
    source: str
    now_ms: Callable[[], int]
    rules: Callable[[], OwnerRules] = lambda: NO_RULES
    _noted_namespaces: tuple[int, OwnerRules] | None = None
    _noted_nodes_ms: int | None = None
    _noted_watching: frozenset[tuple[str, str]] = frozenset()
    _plans: PlanNoter = field(init=False)

    def __post_init__(self) -> None:
        self._plans = PlanNoter(self.cluster)

    async def keep_noting(self, clock: Clock) -> None:
        """Ends only by cancellation. What could not be noted is noted later."""
        while True:
            try:
                await self.note()
            except DatabaseUnavailable as error:
                log.warning("cluster not noted", extra={"error": str(error), "todo": "tried again shortly"})
            await self._wait()
            await clock.sleep(TOGETHER_S)

    async def note(self) -> None:
        """Note what is new. Raises DatabaseUnavailable: nothing was noted."""
        first = not self.tables.unread
        look = self._look()
        try:
            await asyncio.to_thread(self._write, look)
            self.tables.noted = self.tables.noted or first
        except DatabaseUnavailable:
            self.tables.pods.untake(look.pods)
            raise

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(EVERY_S):
                await self.tables.wake.wait()
        except TimeoutError:
            pass
        self.tables.wake.clear()

    def _look(self) -> _Look:
        tables = self.tables
        changes = tables.pods.take()
        return _Look(
            namespaces=tables.namespaces.values(),
            namespaces_ms=tables.namespaces.read_ms,
            rules=self.rules(),
            nodes=tables.nodes.values(),
            nodes_ms=tables.nodes.read_ms,
            pods=changes,
            pods_there=frozenset(tables.pods.items) if changes.listed else None,
            pods_ms=tables.pods.read_ms,
            watching=_watching(tables.resourceclaims.values()),
            plans=self._look_at_plans(),
        )

    def _look_at_plans(self) -> PlanLook | None:
        """None: what says them is not read yet."""
        sources = (self.tables.namespaces, self.tables.resourcequotas)
        read = [table.read_ms for table in sources if table.read_ms is not None]
        if not read or {"namespaces", "resourcequotas"} & set(self.tables.unread):
            return None
        return PlanLook(
            namespaces=self.tables.namespaces.values(),
            quotas=self.tables.resourcequotas.values(),
            at_ms=max(read),
            all_there=all(table.lack is None for table in sources),
        )

    def _write(self, look: _Look) -> None:
        """Namespaces first, so that whoever holds a pod has an owner."""
        with self.database.write() as connection:
            one_at_a_time(connection)
            self._note_namespaces(connection, look)
            if look.nodes_ms is not None and look.nodes_ms != self._noted_nodes_ms:
                note_nodes(connection, self.cluster, look.nodes, look.nodes_ms)
            if look.pods_ms is not None:
                gone = [GonePod(pod=pod, alive_ms=at, gone_ms=gone) for pod, at, gone in look.pods.gone.values()]
                changed = look.pods.changed.values()
                note_pods(connection, self.cluster, changed, gone, look.pods_ms, all_there=look.pods_there)
            noted = self._note_watching(connection, look)
        self._noted_watching = noted
        self._noted_nodes_ms = look.nodes_ms
        if look.namespaces_ms is not None:
            self._noted_namespaces = (look.namespaces_ms, look.rules)
        if look.plans is not None:
            self._plans.note(self.database, look.plans)

    def _note_watching(self, connection: Connection, look: _Look) -> frozenset[tuple[str, str]]:
        """What of this is in the ledger. A pod may be told of later than its claim."""
        new = look.watching - self._noted_watching
        if not new or look.pods_ms is None:
            return self._noted_watching & look.watching
        known = note_watching(connection, self.cluster, new, look.pods_ms)
        return (self._noted_watching & look.watching) | {each for each in new if each[0] in known}

    def _note_namespaces(self, connection: Connection, look: _Look) -> None:
        noted = self._noted_namespaces
        if look.namespaces_ms is None or noted == (look.namespaces_ms, look.rules):
            return
        # What the table says held when it was read; other rules hold from when we read them.
        other_rules = noted is not None and noted[1] != look.rules
        at_ms = max(look.namespaces_ms, self.now_ms()) if other_rules else look.namespaces_ms
        added = note_namespaces(connection, self.cluster, look.namespaces, self.source, at_ms, rules=look.rules)
        if added:
            log.info("owners changed", extra={"cluster": self.cluster, "source": self.source, "versions": len(added)})


def _watching(claims: Collection[Claim]) -> frozenset[tuple[str, str]]:
    """Pods, by uid, and the claims by which they hold no GPU.

    A claim of other devices is not named where its pod claims GPUs, too: of those something may be missing.
    """
    claiming = {uid for each in claims if not each.holds_no_gpu for uid in each.pods}
    return frozenset(
        (uid, f"{each.namespace}/{each.name}")
        for each in claims
        if each.holds_no_gpu
        for uid in each.pods
        if each.only_watches or uid not in claiming
    )
