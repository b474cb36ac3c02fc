"""Stories of a small ledger, told to any database: what agents push, what people set, how months are closed.

Two nodes, the hours around the end of a month. Names are such that an order by locale would differ from the bytewise
one. A step is a value; telling the same steps to two ledgers is to make them the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chargeback.bodies import read_body
from chargeback.core.adjustments import Adjustment, Scope
from chargeback.core.hours import HOUR_MS, format_hour, parse_hour
from chargeback.core.months.closing import Limits, NotWaivable
from chargeback.core.nodes import Node
from chargeback.core.owners.history import CORRECTION, Version
from chargeback.core.owners.owners import Namespace
from chargeback.core.plans.book import FILE, PlanVersion
from chargeback.core.policy import Policy, PolicyChange
from chargeback.files.plans import PlanFile
from chargeback.files.prices import parse_prices
from chargeback.months.close import MonthBlocked, approve, close, discard, prepare
from chargeback.months.look import look
from chargeback.store.adjustments import adjustments, make_adjustment, withdraw_adjustment
from chargeback.store.database import Database
from chargeback.store.months import APPROVED, CLOSED, DRAFT, OPEN, month_states, state_of
from chargeback.store.node_hours import put_body
from chargeback.store.node_states import note_nodes
from chargeback.store.owners import correct_owner, note_namespaces
from chargeback.store.plans import import_plans
from chargeback.store.policies import begin_policy, change_policy, policy_book
from chargeback.store.rollup import months
from chargeback.store.terms import import_prices
from chargeback.tasks.close_hours import close_all

CLUSTER, MODEL = "lab", "NVIDIA A100-SXM4-80GB"
FIRST = parse_hour("2026-10-31T17Z")
# Midnight is at the end of the seventh hour, in Kolkata in the middle of the second.
HOURS = tuple(range(FIRST, FIRST + 3)) + tuple(range(FIRST + 6, FIRST + 8))
BEGIN_MS, END_MS = FIRST * HOUR_MS, (FIRST + 8) * HOUR_MS
# Long after both months, so that they can be closed; every step is a minute.
NOW_MS = parse_hour("2026-12-20T00Z") * HOUR_MS
MINUTE_MS = 60_000
LIMITS = Limits()
NODES = ("n-1", "n_1")
NAMESPACES = ("a_b", "Z-é", 'it\'s "q"', "a-b")
# The last one is nobody's.
OWNED = NAMESPACES[:3]
CENTERS = ("cc-é", "CC_b", 'cc "x"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What agents send, in one go."""

    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabel:
    """A namespace is somebody else's for a while."""

    namespace: str
    cost_center: str
    tier: str
    from_ms: int
    until_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reprice:
    """Another price from an hour on. low, high: before and after; model: None where there is no price at all."""

    from_ms: int
    low: int
    high: int
    model: str | None = MODEL

    @property
    def text(self) -> str:
        if self.model is None:
            return "currency: USD\nprices: []\n"
        at = format_hour(self.from_ms // HOUR_MS).replace("Z", ":00:00Z")
        return f"""
currency: USD
prices:
  - {{model: {self.model}, price: "{micros(self.low)}", unit: gpu-hour, until: "{at}"}}
  - {{model: {self.model}, price: "{micros(self.high)}", unit: gpu-hour, from: "{at}"}}
  - {{model: {self.model}, profile: 1g.10gb, price: "{micros(self.low // 3)}", unit: instance-hour}}
tiers:
  - {{tier: spot, factor: "0.37"}}
  - {{tier: critical, factor: "1.5"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repolicy:
    from_ms: int
    name: str
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A guarantee; None: none any more."""

    namespace: str
    guaranteed: int | None
    from_ms: int
    until_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjust:
    kind: str
    scope: Scope
    from_ms: int
    until_ms: int
    amount_micros: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """The adjustment made last that still holds, if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """The oldest month that is not closed goes some steps on: drafted, approved, closed; then the next one."""

    steps: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Whatever is drafted or approved is open again."""


Input = Push | Relabel | Reprice | Repolicy | Plan | Adjust | Withdraw
Step = Input | Onward | Discard


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """begin: the policy of the settings; prices: the first ones; steps: what happens then."""

    begin: Policy
    prices: Reprice
    steps: tuple[Step, ...]


@dataclass(slots=True)
class Ledger:
    """A ledger to which a story is told, at its own time."""

    database: Database
    now_ms: int = NOW_MS
    blocked: list[str] = field(default_factory=list)

    def begin(self, story: Story) -> None:
        with self.database.write() as connection:
            begin_policy(connection, story.begin, 0)
            text = parse_prices(story.prices.text, "prices.yaml", story.begin.timezone)
            import_prices(connection, text, "prices.yaml", story.begin.timezone, 0)
            seen = [Namespace(name=name, cost_center=CENTERS[n]) for n, name in enumerate(OWNED)]
            note_namespaces(connection, CLUSTER, seen, "file", 0)
            nodes = [Node(name=name, uid=name, created_ms=BEGIN_MS, gpus={"nvidia.com/gpu": 2}) for name in NODES]
            note_nodes(connection, CLUSTER, nodes, BEGIN_MS)
            note_nodes(connection, CLUSTER, nodes, END_MS)
            note_nodes(connection, CLUSTER, [], END_MS + 1)

    def tell(self, step: Step) -> None:
        """Do it, and rate whatever is due."""
        self.take(step)
        self.rate()

    def take(self, step: Step) -> None:
        self.now_ms += MINUTE_MS
        if isinstance(step, Onward):
            for _ in range(step.steps):
                self._onward()
        elif isinstance(step, Discard):
            self._discard()
        else:
            self._take(step)

    def rate(self) -> None:
        close_all(self.database, self.now_ms, 0)

    @property
    def timezone(self) -> str:
        with self.database.read() as connection:
            book = policy_book(connection)
        assert book is not None
        return book.first.timezone

    def _take(self, step: Input) -> None:
        with self.database.write() as connection:
            match step:
                case Push():
                    for data in step.bodies:
                        put_body(connection, read_body(data), data, now_ms=self.now_ms, grace_ms=0)
                case Relabel():
                    version = Version(
                        namespace=step.namespace, cost_center=step.cost_center, tier=step.tier, from_ms=step.from_ms,
                        until_ms=step.until_ms, source=CORRECTION, who="jo", why="", recorded_ms=self.now_ms,
                    )  # fmt: skip
                    correct_owner(connection, CLUSTER, version)
                case Reprice():
                    file = parse_prices(step.text, "prices.yaml", self.timezone)
                    import_prices(connection, file, "prices.yaml", self.timezone, self.now_ms, force=True, who="jo")
                case Repolicy():
                    change = PolicyChange(version=0, from_ms=step.from_ms, values={step.name: step.value})
                    change_policy(connection, change, self.now_ms, who="jo", why="", force=True)
                case Plan():
                    plan = PlanVersion(
                        namespace=step.namespace, resource="nvidia.com/gpu", guaranteed=step.guaranteed, layer=FILE,
                        from_ms=step.from_ms, until_ms=step.until_ms, source="plans.yaml", price_key=MODEL,
                    )  # fmt: skip
                    wanted = [] if step.guaranteed is None else [plan]
                    import_plans(
                        connection, PlanFile(entries={CLUSTER: wanted}), [CLUSTER], self.timezone, self.now_ms,
                        who="jo", force=True,
                    )  # fmt: skip
                case Adjust():
                    made = Adjustment(
                        number=0, kind=step.kind, from_ms=step.from_ms, until_ms=step.until_ms, scope=step.scope,
                        amount_micros=step.amount_micros, month="", reason="", ticket="T-1", who="jo",
                        recorded_ms=self.now_ms,
                    )  # fmt: skip
                    make_adjustment(connection, made, self.timezone, 1)
                case Withdraw():
                    holding = [each.number for each in adjustments(connection) if each.withdrawn_ms is None]
                    if holding:
                        withdraw_adjustment(connection, holding[-1], "jo", "", self.now_ms)

    def _onward(self) -> None:
        self.rate()
        with self.database.read() as connection:
            open_ones = [each for each in sorted(months(connection)) if state_of(connection, each) != CLOSED]
            # December goes on: what is corrected there is not over.
            month = next((each for each in open_ones if each < "2026-12"), None)
            state = OPEN if month is None else state_of(connection, month)
        if month is None:
            return
        if state == OPEN:
            self._prepare(month)
        elif state == DRAFT:
            approve(self.database, month, "bob", self.now_ms)
        elif state == APPROVED:
            close(self.database, month, "ann", self.now_ms)

    def _prepare(self, month: str) -> None:
        """Waive all that may be; what nobody can answer for blocks it, and is remembered."""
        found = look(self.database, month, self.now_ms, 0, LIMITS)
        waivers = sorted({each.name for each in found.findings if each.blocks and each.waivable})
        try:
            prepare(self.database, month, "ann", self.now_ms, 0, LIMITS, waivers, "a story")
        except (MonthBlocked, NotWaivable) as error:
            self.blocked.append(str(error))

    def _discard(self) -> None:
        with self.database.read() as connection:
            frozen = [each.month for each in month_states(connection) if each.state in (DRAFT, APPROVED)]
        for month in frozen:
            discard(self.database, month, "ann", self.now_ms, "a story")


def micros(amount: int) -> str:
    return f"{amount // 1_000_000}.{amount % 1_000_000:06d}"


def inputs(steps: Sequence[Step]) -> list[Input]:
    """What the ledger was told, without what was done with its months."""
    return [step for step in steps if not isinstance(step, Onward | Discard)]


def with_policy(story: Story, **values: object) -> Story:
    """The same, but always billed so."""
    steps = tuple(step for step in story.steps if not isinstance(step, Repolicy))
    return replace(story, begin=replace(story.begin, **values), steps=steps)  # type: ignore[arg-type]
