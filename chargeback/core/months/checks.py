"""The checks of a month, as a table: each finds what is wrong, says it, and says how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from chargeback.core.hours import HOUR_MS, format_instant
from chargeback.core.lines import DIFFERENCE, OVERSOLD, UNATTRIBUTED, UNOWNED, UNPRICED
from chargeback.core.money import format_micros, round_six
from chargeback.core.months.closing import DayCost, Facts, Finding
from chargeback.core.months.sums import LineSum, Sum, by, coverage

Key = TypeVar("Key")

# Nodes named where a cluster's coverage is too low.
WORST_NODES = 3
# Problems of rating that mean that lines are wrong or missing. All others say what was decided, and why.
DEFECTS = frozenset({"unrated", "conservation"})
# These have a check of their own.
_ELSEWHERE = frozenset({"unpriced"})

# Subject, what was found, how to mend it.
Found = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    blocks: bool
    waivable: bool
    find: Callable[[Facts], Iterator[Found]]


def judge(facts: Facts) -> list[Finding]:
    """All findings, check by check in the order of CHECKS."""
    return [
        Finding(
            check=check.name, subject=subject, found=found, mend=mend, blocks=check.blocks, waivable=check.waivable
        )
        for check in CHECKS
        for subject, found, mend in check.find(facts)
    ]


def _not_over(facts: Facts) -> Iterator[Found]:
    if facts.now_ms < facts.over_ms:
        at = format_instant(facts.over_ms)
        yield "", f"the month is not over: it is at {at}", f"wait until {at}"


def _earlier(facts: Facts) -> Iterator[Found]:
    for month in facts.earlier:
        yield (
            month,
            f"{month} has lines and is not closed: months close in order",
            f"chargeback close {month} --dry-run",
        )


def _backlog(facts: Facts) -> Iterator[Found]:
    if facts.due and not facts.drafted:
        yield "", f"{facts.due} node-hours or plan-hours are still to be rated", "chargeback rerate --now"


def _waiting(facts: Facts) -> Iterator[Found]:
    if facts.due and facts.drafted:
        mend = f"chargeback close {facts.month} --prepare takes them in; else they are corrected in a later month"
        yield "", f"{facts.due} node-hours or plan-hours have changed since the draft, and wait", mend


def _unfinished(facts: Facts) -> Iterator[Found]:
    for each in facts.unfinished:
        found = f"{each.node_hours} node-hours in {each.cluster} are not final, and younger than 72 h"
        yield each.cluster, found, f"bring back their agents, or wait until {format_instant(each.until_ms)}"


def _unpriced(facts: Facts) -> Iterator[Found]:
    """By model; of a plan that nobody can say a model of, by its namespace."""
    for (model, cluster, namespace), found in _there(facts, UNPRICED, _what_is_unpriced):
        hours = _hours(max(found.gpu_ms, found.unit_ms))
        if model:
            mend = f"chargeback prices import FILE, with a price of {model} from {facts.month}-01 on"
            yield model, f"{hours} hours of {model} have no price", mend
        else:
            mend = "chargeback plans import FILE, with its price_key; the problem `unpriced plan` says why"
            said = f"{hours} unused hours of the plan of {namespace} in {cluster} have no price"
            yield f"{cluster}/{namespace}", said, mend


def _what_is_unpriced(each: LineSum) -> tuple[str, str, str]:
    return (each.model, "", "") if each.model else ("", each.cluster, each.namespace)


def _unowned(facts: Facts) -> Iterator[Found]:
    for (cluster, namespace), found in _there(facts, UNOWNED, lambda each: (each.cluster, each.namespace)):
        what = f"{namespace} --cluster {cluster} --cost-center NAME --from {facts.month}-01"
        said = f"{_hours(found.gpu_ms)} card hours, {format_micros(found.amount_micros)}, of {namespace} in {cluster}"
        yield f"{cluster}/{namespace}", f"{said} belong to no cost center", f"chargeback owners set {what} --why WHY"


def _unattributed(facts: Facts) -> Iterator[Found]:
    for cluster, found in _there(facts, UNATTRIBUTED, lambda each: each.cluster):
        said = f"{_hours(found.gpu_ms)} card hours, {format_micros(found.amount_micros)}, in {cluster}"
        yield cluster, f"{said} were held by somebody who cannot be named", "chargeback status"


def _unmetered(facts: Facts) -> Iterator[Found]:
    for node in facts.unmetered:
        found = f"no agent told of {node.node} in {node.cluster}: GPU devices: {node.devices}, pods: {node.pods}"
        yield f"{node.cluster}/{node.node}", found, "run gpu-exporter there; what its pods held is on no bill"


def _defects(facts: Facts) -> Iterator[Found]:
    for each in facts.problems:
        if each.kind in DEFECTS:
            found = f"{each.kind} in {each.cluster}: {each.subject} ({each.node_hours} node-hours)"
            yield f"{each.cluster}/{each.kind}", found, "report it: it is a defect of this program"


def _problems(facts: Facts) -> Iterator[Found]:
    for each in facts.problems:
        if each.kind not in DEFECTS | _ELSEWHERE:
            hours = _hours(Fraction(each.ms))
            found = f"{each.kind} in {each.cluster}: {each.subject} ({hours} h in {each.node_hours} node-hours)"
            yield f"{each.cluster}/{each.kind}", found, "chargeback status"


def _difference(facts: Facts) -> Iterator[Found]:
    for cluster, found in _there(facts, DIFFERENCE, lambda each: each.cluster, -1):
        said = f"{_hours(found.gpu_ms)} card hours, {format_micros(found.amount_micros)}, in {cluster}"
        mend = f"chargeback export --month {facts.month} --detail hour shows on which cards"
        yield cluster, f"{said} should be impossible: more was held than the card has", mend


def _money(facts: Facts) -> Iterator[Found]:
    for cluster, found in by(facts.sums, lambda each: each.cluster).items():
        if found.list_micros != found.amount_micros:
            said = f"list {format_micros(found.list_micros)}, amount {format_micros(found.amount_micros)}"
            yield (
                cluster,
                f"the lines of {cluster} do not balance: {said}",
                "report it: it is a defect of this program",
            )


def _time(facts: Facts) -> Iterator[Found]:
    lines = by((each for each in facts.sums if each.is_charge), lambda each: each.cluster)
    for cluster in sorted({*lines, *facts.existed_ms, *facts.error_ms}, key=str.encode):
        counted, existed = lines.get(cluster, Sum()).gpu_ms, facts.existed_ms.get(cluster, 0)
        error = facts.error_ms.get(cluster, 0)
        if counted != existed or error:
            said = f"lines {_hours(counted)} h, cards {_hours(Fraction(existed))} h, noted at rating {error} ms"
            yield (
                cluster,
                f"the time of {cluster} does not balance: {said}",
                "chargeback rerate; if it stays, report it",
            )


def _coverage(facts: Facts) -> Iterator[Found]:
    found = coverage(facts.sums)
    for cluster in (each for each in found if not each.node):
        if cluster.covered < facts.limits.min_coverage:
            nodes = [each for each in found if each.cluster == cluster.cluster and each.node and each.gap_ms]
            worst = ", ".join(f"{each.node} ({_hours(each.gap_ms)} h)" for each in nodes[:WORST_NODES])
            said = f"{percent(cluster.covered)} of the card time in {cluster.cluster} was observed"
            wanted = f"less than {percent(facts.limits.min_coverage)}; the longest gaps: {worst}"
            yield (
                cluster.cluster,
                f"{said}, {wanted}",
                "bring back the agents of these nodes: they push what they kept",
            )


def _oversold(facts: Facts) -> Iterator[Found]:
    for cluster, found in _there(facts, OVERSOLD, lambda each: each.cluster, -1):
        said = f"guarantees of {format_micros(-found.amount_micros)} in {cluster} had no idle card behind them"
        yield cluster, said, "chargeback plans show; lower the guarantees, or add cards"


def _meters(facts: Facts) -> Iterator[Found]:
    for cluster, kinds in sorted(facts.differences.items(), key=lambda item: item[0].encode()):
        for kind, ms in sorted(kinds.items()):
            found = f"agents and the cluster's API differ by {_hours(Fraction(ms))} h in {cluster}: {kind}"
            yield f"{cluster}/{kind}", found, "chargeback status says what each kind means"


def _sanity(facts: Facts) -> Iterator[Found]:
    """Case: after an upgrade everything cost 10 to 100 times as much, and nobody was told."""
    before: DayCost | None = None
    for day in facts.days:
        if before is not None and before.cluster == day.cluster and _leaps(before, day, facts.limits.day_factor):
            said = (
                f"an hour in {day.cluster} cost {_an_hour(before)} on {before.day} and {_an_hour(day)} on {day.day}"
            )
            mend = "chargeback prices history; chargeback status: what is wrong is rated again when it is mended"
            yield f"{day.cluster}/{day.day}", f"{said}: more than a factor of {facts.limits.day_factor}", mend
        before = day


def _leaps(before: DayCost, day: DayCost, factor: Fraction) -> bool:
    """By hour, for days have 23, 24 or 25, and a ledger begins in the middle of one."""
    if before.micros is None or day.micros is None:
        return False  # without a price nothing is known of the cost
    then, now = before.micros * day.hours, day.micros * before.hours
    return now > factor * then or then > factor * now


def _an_hour(day: DayCost) -> str:
    return format_micros(round(Fraction(day.micros or 0, day.hours)))


def _there(facts: Facts, account: str, key: Callable[[LineSum], Key], sign: int = 1) -> Iterator[tuple[Key, Sum]]:
    """What lies on an account, where that is anything. sign: of what lies there.

    Corrections of earlier months count where they add to it: what they take back was found where it was closed, and
    must not hide what lies there in this month.
    """
    mine = [each for each in facts.sums if each.account == account]
    late = by((each for each in mine if not each.is_charge), key)
    adding = {found for found, total in late.items() if _adds(total, sign)}
    for found, total in by((each for each in mine if each.is_charge or key(each) in adding), key).items():
        if total.gpu_ms or total.unit_ms or total.list_micros or total.amount_micros:
            yield found, total


def _adds(total: Sum, sign: int) -> bool:
    """By time, or by money where there is no time."""
    return (sign * total.gpu_ms, sign * total.unit_ms, sign * total.amount_micros) > (0, 0, 0)


def percent(part: Fraction) -> str:
    """`98.40 %`, rounded down: what is not whole never reads as 100."""
    hundredths = part.numerator * 10_000 // part.denominator
    return f"{hundredths // 100}.{hundredths % 100:02d} %"


def _hours(ms: Fraction) -> str:
    return round_six(ms / HOUR_MS)


CHECKS = (
    Check(name="over", blocks=True, waivable=False, find=_not_over),
    Check(name="order", blocks=True, waivable=False, find=_earlier),
    Check(name="backlog", blocks=True, waivable=False, find=_backlog),
    Check(name="final", blocks=True, waivable=False, find=_unfinished),
    Check(name="unpriced", blocks=True, waivable=True, find=_unpriced),
    Check(name="unowned", blocks=True, waivable=True, find=_unowned),
    Check(name="unmetered", blocks=True, waivable=True, find=_unmetered),
    Check(name="defect", blocks=True, waivable=False, find=_defects),
    Check(name="difference", blocks=True, waivable=True, find=_difference),
    Check(name="money", blocks=True, waivable=False, find=_money),
    Check(name="time", blocks=True, waivable=False, find=_time),
    Check(name="coverage", blocks=True, waivable=True, find=_coverage),
    Check(name="oversold", blocks=True, waivable=True, find=_oversold),
    Check(name="sanity", blocks=True, waivable=True, find=_sanity),
    Check(name="waiting", blocks=False, waivable=False, find=_waiting),
    Check(name="unattributed", blocks=False, waivable=False, find=_unattributed),
    Check(name="problem", blocks=False, waivable=False, find=_problems),
    Check(name="meters", blocks=False, waivable=False, find=_meters),
)
