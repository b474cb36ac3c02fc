"""A report on quotas as tables for people, at most about a hundred columns wide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction

from rich.table import Table

from chargeback.answers.quotas import show
from chargeback.cli.console import cell, table
from chargeback.core.hours import format_instant
from chargeback.core.plans.book import FILE
from chargeback.core.plans.sources import ANNOTATION, PAIR, Plan
from chargeback.core.quota.idle_shares import IdleShare
from chargeback.core.quota.refusals import EXCEEDED
from chargeback.core.quota.report import NamespaceQuotas, QuotaReport
from chargeback.core.quota.resources import gpu_resource
from chargeback.core.quota.uses import US, QuotaUse

UNKNOWN = "?"
_SOURCES = {FILE: "a plan file", ANNOTATION: "annotation", PAIR: "the pair of its quota"}
_MS_PER_HOUR = 3_600_000


def overview(report: QuotaReport) -> Table:
    """A row a GPU key; what is the namespace's own stands in its first row."""
    found = table("namespace", "quota", "=key", ">used", ">of", ">plan", ">idle", "=full in", ">waits")
    for each in report.namespaces:
        of_namespace = [
            plan_text(each.plan, known="namespaces" not in report.unknown),
            _percent(each.idle),
            waits_text(each),
        ]
        for use in each.uses or (None,):
            plan, idle, waits = of_namespace
            cells = [use.quota, use.resource, _used(use), show(use.hard)] if use else ["", "", "", ""]
            full = _full(report.saturation_s.get(use.key)) if use else ""
            found.add_row(*map(cell, (each.namespace, *cells, plan, idle, full, waits)))
            of_namespace = ["", "", ""]
    return found


def legend(report: QuotaReport) -> Iterator[str]:
    """What the marks in the overview mean, as far as they are there; and what all of it is to be held against."""
    uses = report.uses
    if report.offered is not None:
        offered = ", ".join(f"{count} {resource}" for resource, count in report.offered.items())
        yield f"Nodes offer: {offered or 'no GPU'}"
    if any(use.counted_by == US for use in uses):
        yield "*: counted by us: Kubernetes stores this key, and neither counts nor enforces it"
    if any(not use.enforced and use.counted is None for use in uses):
        yield f"{UNKNOWN}: nobody counts it: Kubernetes stores this key and ignores it, and we see no pods here"
    if any(use.enforced and use.used is None for use in uses):
        yield f"{UNKNOWN}: Kubernetes has not counted it"
    if any(use.differs for use in uses):
        yield "8 (7): Kubernetes counts 8, we count 7; for a moment that is usual"


def details(found: NamespaceQuotas) -> Iterator[str | Table]:
    """All that is known of one namespace, beyond the overview: text and tables in the order of reading."""
    for each in found.plans:
        yield _plan_sentence(each.plan, each.held)
    if found.idle is not None:
        yield _idle_sentence(found.idle)
    if any(use.holders for use in found.uses):
        yield "Holders, by workload (whose name is told from its pods'):"
        yield _holders(found.uses)
    if found.refusals:
        yield "Refused by a quota:"
        yield _refused(found)
    if found.waiting:
        yield "Admitted, and waiting for a node:"
        yield _waiting(found)
    if found.others:
        yield "Other keys of its quotas, the fullest first:"
        yield _others(found)


def plan_text(plan: Plan | None, *, known: bool) -> str:
    """`8–32`; ? for what is not said or contradicts itself. known: False where annotations may say one unseen."""
    if plan is None:
        return "" if known else UNKNOWN
    return f"{show(plan.guaranteed) or UNKNOWN}–{show(plan.cap) or UNKNOWN}"


def waits_text(found: NamespaceQuotas) -> str:
    """Refused workloads and waiting pods together; nothing where none waits, ? where that is not known."""
    if found.refusals is None and found.waiting is None:
        return UNKNOWN
    count = len(found.refusals or ()) + len(found.waiting or ())
    return str(count) if count else ""


def _used(use: QuotaUse) -> str:
    if use.taken is None:
        return UNKNOWN
    if use.counted_by == US:
        return f"{show(use.taken)}*"
    return f"{show(use.used)} ({show(use.counted)})" if use.differs else show(use.taken) or ""


def _full(seconds: Fraction | None) -> str:
    """In the greatest unit of which there are two."""
    if seconds is None:
        return ""
    if not seconds:
        return "now"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{float(seconds / length):.0f} {unit}"
    return f"{float(seconds):.0f} s"


def _percent(idle: IdleShare | None) -> str:
    if idle is None:
        return ""
    return UNKNOWN if idle.ratio is None else f"{float(idle.ratio):.0%}"


def _plan_sentence(plan: Plan, held: int | None) -> str:
    where = _SOURCES[plan.source]
    on = f", on quota {plan.quota}" if plan.quota else ""
    held_text = "not known how many are held" if held is None else f"{held} held or waited for"
    return (
        f"Plan of {plan.resource}: {show(plan.guaranteed) or UNKNOWN} guaranteed, "
        f"{show(plan.cap) or UNKNOWN} at most (by {where}{on}); {held_text}."
    )


def _idle_sentence(idle: IdleShare) -> str:
    held = f"the {float(idle.held_ms / _MS_PER_HOUR):.2f} GPU hours held in hours not rated yet"
    if idle.ratio is None:
        return f"Idle: not known: the usage of {held} is not."
    if idle.known_ms == idle.held_ms:
        return f"Idle: {float(idle.ratio):.0%} of {held}."
    known = f"{float(idle.known_ms / _MS_PER_HOUR):.2f}"
    return f"Idle: {float(idle.ratio):.0%}, as far as usage is known: of {known} of {held}."


def _holders(uses: Iterable[QuotaUse]) -> Table:
    """Keys of one quota that count the same resource have the same holders."""
    found = table("quota", "=resource", "workload", ">pods", ">bound", ">pending")
    of_resource = {(use.quota, gpu_resource(use.resource)[0]): use.holders or () for use in uses}
    for (quota, resource), holders in of_resource.items():
        for holder in holders:
            cells = (quota, resource, holder.workload, len(holder.pods), holder.bound, holder.pending or "")
            found.add_row(*map(cell, cells))
    return found


def _refused(found: NamespaceQuotas) -> Table:
    made = table("workload", "quota", "=key", ">asks", ">used", ">of", "=since", ">tries")
    for refusal in found.refusals or ():
        for key in refusal.keys:
            asks = key.requested if key.why == EXCEEDED else key.why
            since = format_instant(refusal.first_ms)
            cells = (refusal.workload, key.quota, key.key, asks, key.used, key.limited, since, refusal.count)
            made.add_row(*map(cell, cells))
    return made


def _waiting(found: NamespaceQuotas) -> Table:
    made = table("pod", "asks", "=since", "the scheduler says")
    for pod in found.waiting or ():
        asks = ", ".join(f"{count} {resource}" for resource, count in sorted(pod.requests.items())) or "claims"
        made.add_row(*map(cell, (pod.name, asks, format_instant(pod.since_ms), pod.waits or "nothing yet")))
    return made


def _others(found: NamespaceQuotas) -> Table:
    made = table("quota", "=key", ">used", ">of", ">full")
    for key in found.others:
        full = UNKNOWN if key.fullness is None else f"{key.fullness * Decimal(100):.0f}%"
        made.add_row(*map(cell, (key.quota, key.key, _amount(key.used), _amount(key.hard), full)))
    return made


def _amount(number: Decimal | None) -> str:
    """Bytes as people write them, where that is exact: 256Gi."""
    if number is None:
        return UNKNOWN
    for suffix, size in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20)):
        if number and number % size == 0:
            return f"{number // size}{suffix}"
    return show(number) or ""
