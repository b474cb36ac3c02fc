"""Adjustments that people make: time that is not billed, and sums that are. A law of their own: they balance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from chargeback.core.corrections import first_day
from chargeback.core.hours import HOUR_MS, local_day
from chargeback.core.lines import CREDIT, DEBIT, DISCOUNT, NONBILLABLE, OUTAGE, Line
from chargeback.core.rating.waivers import Waiver

# Facts over time, which every rating takes into account; and sums, posted once.
WAIVERS, SUMS = (NONBILLABLE, OUTAGE), (CREDIT, DEBIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whom or what an adjustment is about; an empty text names everything. gpu: the uuid of a card."""

    cluster: str = ""
    node: str = ""
    gpu: str = ""
    namespace: str = ""
    cost_center: str = ""
    team: str = ""

    def __str__(self) -> str:
        """As it is typed: `cluster=lab,cost-center=rd-001`."""
        return ",".join(f"{option_of(name)}={value}" for name, value in self.items())

    def items(self) -> list[tuple[str, str]]:
        """What it names, in the order of fields."""
        return [(each.name, getattr(self, each.name)) for each in fields(self) if getattr(self, each.name)]


_NAMES = tuple(each.name for each in fields(Scope))


def option_of(name: str) -> str:
    return name.replace("_", "-")


def read_scope(texts: Iterable[str]) -> Scope:
    """Texts of `key=value,…` as one scope. Raises ValueError with all that is wrong, one problem a line."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for pair in (pair for text in texts for pair in text.split(",")):
        key, equals, value = pair.partition("=")
        name = key.replace("-", "_")
        if not equals or name not in _NAMES or key != option_of(name):
            problems.append(f"{pair!r}: want one of {', '.join(f'{option_of(each)}=NAME' for each in _NAMES)}")
        elif not value.strip():
            problems.append(f"{pair!r}: want a name after {key}=")
        elif found.get(name, value.strip()) != value.strip():
            problems.append(f"{pair!r}: {key} is {found[name]!r} already: want one, or an adjustment each")
        else:
            found[name] = value.strip()
    if problems:
        raise ValueError("\n".join(problems))
    if not found:
        raise ValueError(f"'': want at least one of {', '.join(f'{option_of(each)}=NAME' for each in _NAMES)}")
    return Scope(**found)


def sum_problems(scope: Scope) -> list[str]:
    """What is wrong with the scope of a sum, which is between a cost center and the platform."""
    problems = [] if scope.cost_center else ["cost-center= is missing: whose bill is it?"]
    held = [name for name in ("node", "gpu") if getattr(scope, name)]
    return [*problems, *(f"{name}={getattr(scope, name)}: not of a sum: want a cost center" for name in held)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """One adjustment, about [from_ms, until_ms). amount_micros: of a sum, positive; None of a waiver.

    month: where a sum is posted; of a waiver, the local month in which it begins. withdrawn_ms: from when on it is as
    if it had never been made.
    """

    number: int
    kind: str
    from_ms: int
    until_ms: int
    scope: Scope
    amount_micros: int | None
    month: str
    reason: str
    ticket: str
    who: str
    recorded_ms: int
    withdrawn_ms: int | None = None

    @property
    def name(self) -> str:
        """The device of its lines, the subject of its notes."""
        return f"adjustment-{self.number}"

    @property
    def hour(self) -> int:
        """The hour that its lines are about."""
        return self.from_ms // HOUR_MS


def waiver_of(adjustment: Adjustment) -> Waiver:
    return Waiver(
        kind=adjustment.kind,
        from_ms=adjustment.from_ms,
        until_ms=adjustment.until_ms,
        **dict(adjustment.scope.items()),
    )


def lines_of_sum(adjustment: Adjustment, timezone: str, policy_version: int) -> list[Line]:
    """What a credit or debit posts: what the cost center gets or owes, and the same against it on the discount.

    A sum that is posted later than in its own local month says which that was.
    """
    assert adjustment.amount_micros is not None, adjustment.kind
    owed = adjustment.amount_micros if adjustment.kind == DEBIT else -adjustment.amount_micros
    against = CREDIT if adjustment.kind == DEBIT else DEBIT
    scope = adjustment.scope
    return [
        _line(adjustment, timezone, policy_version, scope.cost_center, adjustment.kind, owed),
        _line(adjustment, timezone, policy_version, DISCOUNT, against, -owed),
    ]


def _line(
    adjustment: Adjustment, timezone: str, policy_version: int, account: str, kind: str, amount_micros: int
) -> Line:
    scope = adjustment.scope
    begins = local_day(adjustment.from_ms, timezone).isoformat()
    is_late = adjustment.month != begins[:7]
    return Line(
        cluster=scope.cluster,
        node="",
        hour=adjustment.hour,
        day=first_day(adjustment.month) if is_late else begins,
        month=adjustment.month,
        start_ms=adjustment.from_ms,
        end_ms=adjustment.until_ms,
        account=account,
        kind=kind,
        device=adjustment.name,
        parent="",
        model="",
        profile=None,
        sku="",
        unit=None,
        unit_price=None,
        price_version=0,
        policy_version=policy_version,
        gpu_ms_num=0,
        quantity_ms_num=0,
        ms_den=1,
        list_micros=0,
        amount_micros=amount_micros,
        namespace=scope.namespace,
        cost_center=scope.cost_center,
        team=scope.team or None,
        evidence=adjustment.ticket,
        corrects_month=begins[:7] if is_late else "",
    )
