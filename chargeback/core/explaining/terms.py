"""The terms that a line was rated by, in sections of its explanation: owner, price, policy, plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chargeback.core.explaining.explaining import Fact, Section, fact, section
from chargeback.core.hours import format_instant
from chargeback.core.lines import Line
from chargeback.core.money import MICROS, format_decimal
from chargeback.core.owners.history import Version
from chargeback.core.plans.book import PlanVersion
from chargeback.core.policy import Policy, PolicyChange
from chargeback.core.prices.book import PriceBook, Reason
from chargeback.core.prices.entries import Discount, Price, TierFactor, name_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Who recorded something, when and why; None: not said."""

    recorded_ms: int
    who: str | None = None
    why: str | None = None
    source: str = ""


def owner_section(line: Line, version: Version | None) -> Section:
    """version: the one that the line names; None: the namespace had none."""
    facts = [fact("cost center", line.cost_center), fact("team", line.team), fact("tier", line.tier)]
    if not line.namespace:
        return section("owner", [fact("note", "nobody is known to have held it"), *facts])
    if version is None:
        return section(
            "owner", [*facts, fact("note", f"namespace {line.namespace} has no owner then, as far as known")]
        )
    facts += [
        fact("version", f"{version.version} of namespace {line.namespace}", version.version),
        fact("from", format_instant(version.from_ms) if version.from_ms else "ever"),
        fact("until", None if version.until_ms is None else format_instant(version.until_ms)),
        *_recorded(
            Recording(recorded_ms=version.recorded_ms, who=version.who, why=version.why, source=version.source)
        ),
    ]
    labels = {"cost center": "cost_center", "team": "team", "tier": "tier"}
    said = [name for name, field in labels.items() if getattr(line, field) not in (None, getattr(version, field))]
    if said:
        facts.append(fact("note", f"{', '.join(said)}: by the pod's own labels or class, not its namespace's"))
    return section("owner", facts)


def price_section(line: Line, book: PriceBook, recording: Recording | None, reason: Reason | None) -> Section:
    """reason: everything that matched; None: no price is asked for."""
    facts: list[Fact] = []
    if reason is not None:
        listed = next(iter(reason.listed), None)
        if listed is None:
            facts.append(fact("note", f"no entry is the own price of {line.model}: its time is unpriced"))
        else:
            if reason.chosen[:1] != (listed,):
                facts.append(_entry("list price", listed))
            facts += _chosen(reason)
    facts += [fact("book", f"version {line.price_version}", line.price_version)]
    if line.price_version != book.version:
        facts.append(fact("note", f"version {book.version} is in force now"))
    return section("price", [*facts, *(_recorded(recording) if recording else ())])


def _chosen(reason: Reason) -> list[Fact]:
    facts = [_entry("applied" if i == 0 else "passed over", price) for i, price in enumerate(reason.chosen)]
    applied = next(iter(reason.chosen), None)
    for i, factor in enumerate(reason.factors):
        name = "passed over" if i or (applied is not None and applied.tier is not None) else "tier factor"
        facts.append(_entry(name, factor))
    facts += [_entry("passed over" if i else "discount", discount) for i, discount in enumerate(reason.discounts)]
    if reason.rate is not None:
        amount = format_decimal(reason.rate.unit_amount / MICROS)
        facts.append(
            fact("comes to", f"{amount} per {reason.rate.unit}", {"amount": amount, "unit": reason.rate.unit})
        )
    return facts


def _entry(name: str, entry: Price | TierFactor | Discount) -> Fact:
    if isinstance(entry, Price):
        what = f"{format_decimal(entry.amount / MICROS)} per {entry.unit}"
    else:
        what = f"× {format_decimal(entry.factor)}"
        contract = entry.contract if isinstance(entry, Discount) else None
        what += f", contract {contract}" if contract else ""
    dates = [f"from {format_instant(entry.from_ms)}" if entry.from_ms else ""]
    dates += [f"until {format_instant(entry.until_ms)}" if entry.until_ms is not None else ""]
    return fact(name, ", ".join(text for text in (what, name_of(entry), *dates) if text))


def policy_section(
    line: Line, policy: Policy, said: Mapping[str, PolicyChange], recording: Recording | None
) -> Section:
    """said: by field, the version that says it."""
    facts = [fact("version", str(line.policy_version), line.policy_version)]
    for name in ("basis", "sharing", "mig_weight", "faulted", "plans_from", "idle"):
        change, value = said[name], str(getattr(policy, name))
        scope = " ".join(text for text in (change.cluster, change.pool) if text)
        facts.append(fact(name.replace("_", " "), None, {"is": value, "version": change.version, "scope": scope}))
    shown = [f"{each.name} {each.value['is']} ({_said_by(each.value)})" for each in facts[1:]]
    in_words = [fact("says", text) for text in (", ".join(shown[:3]), ", ".join(shown[3:]))]
    words = [replace(each, value=None) for each in in_words]
    return section("policy", [*facts, *words, *(_recorded(recording) if recording else ())])


def _said_by(said: Mapping[str, object]) -> str:
    return f"version {said['version']}" + (f" for {said['scope']}" if said["scope"] else "")


def plan_section(line: Line, plan: PlanVersion | None) -> Section:
    """plan: the version that the line names."""
    if plan is None:
        return section("plan", [fact("version", str(line.plan_version), line.plan_version)])
    return section(
        "plan",
        [
            fact("version", f"{plan.version} of namespace {plan.namespace}", plan.version),
            fact("guaranteed", None if plan.guaranteed is None else f"{plan.guaranteed} × {plan.resource}",
                 plan.guaranteed),
            fact("cap", None if plan.cap is None else str(plan.cap), plan.cap),
            fact("priced as", plan.price_key),
            fact("from", format_instant(plan.from_ms) if plan.from_ms else "ever"),
            fact("until", None if plan.until_ms is None else format_instant(plan.until_ms)),
            *_recorded(Recording(recorded_ms=plan.recorded_ms, who=plan.who, why=plan.why, source=plan.source)),
        ],
    )  # fmt: skip


def _recorded(recording: Recording) -> Sequence[Fact]:
    return (
        fact("source", recording.source),
        fact("recorded", format_instant(recording.recorded_ms) if recording.recorded_ms else None),
        fact("by", recording.who),
        fact("because", recording.why),
    )
