"""Plans: how many GPUs a namespace is guaranteed and capped at now, and who said so.

The first that exists speaks: the ledger's own, of a plan file; annotations on the Namespace or its ResourceQuotas;
then, only where policy says `plans_from: quota`, the pair `requests.` (guarantee) and `limits.` (cap) of a quota. A
bare quota is a ceiling.
What contradicts itself is named and is no number: nothing is added up, and no weaker source is asked instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from chargeback.core.owners.owners import Namespace
from chargeback.core.plans.book import FILE, PlanVersion
from chargeback.core.plans.key import check_price_key
from chargeback.core.quota.limit_ranges import amount, label
from chargeback.core.quota.problems import QuotaProblem
from chargeback.core.quota.resources import CAP, GUARANTEED, PRICE_KEY
from chargeback.core.quota.specs import GPU, LIMITS, REQUESTS, QuotaSpec

ANNOTATION, PAIR = "annotation", "quota"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Of one namespace and resource. Numbers are devices; None: not said, or not to be read.

    source     file, annotation, or quota: its pair
    quota      whose pair or annotation it is, else the one quota that caps the namespace; None: no single one
    price_key  what a device of it is priced as; empty: as what the cluster has
    """

    namespace: str
    resource: str
    guaranteed: Decimal | None
    cap: Decimal | None
    source: str
    quota: str | None = None
    price_key: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    """A number that somebody wrote. quota: None where it stands on the namespace."""

    object: str
    field: str
    text: str
    quota: QuotaSpec | None


def plans(
    quotas: Iterable[QuotaSpec],
    namespaces: Iterable[Namespace],
    plans_from: str,
    filed: Iterable[PlanVersion] = (),
) -> tuple[list[Plan], list[QuotaProblem]]:
    """The plan of each namespace that has one, by name; and what is wrong. plans_from: of the policy.

    filed: what a plan file says now; of whole GPUs it goes before what else is said of the namespace.
    """
    filed_of: dict[str, list[PlanVersion]] = {}
    for version in filed:
        if version.resource == GPU:
            filed_of.setdefault(version.namespace, []).append(version)
    quotas_of: dict[str, list[QuotaSpec]] = {}
    for quota in quotas:
        quotas_of.setdefault(quota.namespace, []).append(quota)
    annotations_of = {namespace.name: namespace.annotations for namespace in namespaces}
    found: list[Plan] = []
    problems: list[QuotaProblem] = []
    for namespace in sorted(quotas_of.keys() | annotations_of.keys() | filed_of.keys()):
        mine = sorted(quotas_of.get(namespace, ()), key=lambda quota: quota.name)
        if namespace in filed_of:
            found.append(_filed(namespace, GPU, filed_of[namespace], mine))
            continue
        sources: list[tuple[str, Mapping[str, str], QuotaSpec | None]] = [
            (label("Namespace", "", namespace), annotations_of.get(namespace, {}), None),
            *((quota.label, quota.annotations, quota) for quota in mine),
        ]
        said = {
            field: [_Said(where, field, values[field], quota) for where, values, quota in sources if field in values]
            for field in (GUARANTEED, CAP, PRICE_KEY)
        }
        plan: Plan | None = None
        if said[GUARANTEED] or said[CAP]:
            plan = _annotated(namespace, said[GUARANTEED], said[CAP], mine, problems)
        elif plans_from == PAIR:
            plan = _paired(namespace, mine, problems)
        if plan is not None:
            found.append(_with_key(plan, said[PRICE_KEY], problems))
    return found, problems


def plans_of_parts(quotas: Iterable[QuotaSpec], filed: Iterable[PlanVersion]) -> list[Plan]:
    """What a plan file says of other resources than whole GPUs, such as MIG profiles. Nothing else says any."""
    filed_of: dict[tuple[str, str], list[PlanVersion]] = {}
    for version in filed:
        if version.resource != GPU:
            filed_of.setdefault((version.namespace, version.resource), []).append(version)
    by_name = sorted(quotas, key=lambda quota: quota.name)
    return [
        _filed(namespace, resource, versions, [quota for quota in by_name if quota.namespace == namespace])
        for (namespace, resource), versions in sorted(filed_of.items())
    ]


def _filed(namespace: str, resource: str, versions: Sequence[PlanVersion], quotas: Sequence[QuotaSpec]) -> Plan:
    """Devices of several price keys are of one resource: together they are the namespace's."""
    bearers = _unscoped(quotas, resource)
    bearer = bearers[0] if len(bearers) == 1 else None
    guaranteed = [each.guaranteed for each in versions if each.guaranteed is not None]
    caps = [each.cap for each in versions if each.cap is not None]
    return Plan(
        namespace=namespace,
        resource=resource,
        guaranteed=Decimal(sum(guaranteed)) if guaranteed else None,
        cap=Decimal(sum(caps)) if len(caps) == len(versions) else _stops_at(bearer, quotas, resource),
        source=FILE,
        quota=bearer.name if bearer else None,
        price_key=versions[0].price_key if len(versions) == 1 else "",
    )


def _with_key(plan: Plan, said: Sequence[_Said], problems: list[QuotaProblem]) -> Plan:
    """Where two keys are said, or one that is none, there is no number: priced as another it would be a guess."""
    keys: dict[str, _Said] = {}
    wrong: list[tuple[_Said, str]] = []
    for each in said:
        try:
            keys.setdefault(check_price_key(each.text), each)
        except ValueError as error:
            wrong.append((each, f"{each.text!r}: {error}"))
    if len(keys) > 1:
        first, *others = keys.values()
        named = ", ".join(f"{each.object} says {each.text}" for each in others)
        wrong.append((first, f"{first.text}, but {named}: want one price key for the namespace"))
    problems += [
        QuotaProblem(namespace=plan.namespace, object=each.object, field=each.field, what=what)
        for each, what in wrong
    ]
    return replace(plan, guaranteed=None) if wrong else replace(plan, price_key=next(iter(keys), ""))


def _annotated(
    namespace: str,
    guarantees: Sequence[_Said],
    caps: Sequence[_Said],
    quotas: Sequence[QuotaSpec],
    problems: list[QuotaProblem],
) -> Plan:
    guaranteed = _agreed(namespace, guarantees, problems)
    bearers = [said.quota for said in (*guarantees, *caps) if said.quota is not None] or _unscoped(quotas)
    bearer = bearers[0] if len({each.name for each in bearers}) == 1 else None
    cap = _agreed(namespace, caps, problems) if caps else _stops_at(bearer, quotas)
    plan = Plan(
        namespace=namespace,
        resource=GPU,
        guaranteed=guaranteed,
        cap=cap,
        source=ANNOTATION,
        quota=bearer.name if bearer else None,
    )
    _check_cap(plan, (guarantees or caps)[0], problems)
    return plan


def _paired(namespace: str, quotas: Sequence[QuotaSpec], problems: list[QuotaProblem]) -> Plan | None:
    """A quota of 0 forbids GPUs: beside another it is no second pair."""
    having = [quota for quota in quotas if REQUESTS + GPU in quota.hard]
    pairs = [quota for quota in having if _hard(quota) != 0 or LIMITS + GPU in quota.hard] or having[:1]
    if not pairs:
        return None
    requests = [_Said(quota.label, REQUESTS + GPU, quota.hard[REQUESTS + GPU], quota) for quota in pairs]
    guaranteed = _agreed(namespace, requests, problems)
    written = [quota for quota in pairs if LIMITS + GPU in quota.hard]
    limits = [_Said(quota.label, LIMITS + GPU, quota.hard[LIMITS + GPU], quota) for quota in written]
    cap = _agreed(namespace, limits, problems) if limits else guaranteed
    plan = Plan(
        namespace=namespace,
        resource=GPU,
        guaranteed=guaranteed,
        cap=cap,
        source=PAIR,
        quota=pairs[0].name if len(pairs) == 1 else None,
    )
    _check_cap(plan, requests[0], problems)
    return plan


def _agreed(namespace: str, said: Sequence[_Said], problems: list[QuotaProblem]) -> Decimal | None:
    """The one number that all say; None where nobody does, one is no number, or they differ."""
    numbers: dict[Decimal, _Said] = {}
    unreadable = False
    for each in said:
        number = _devices(each.text)
        if number is None:
            what = f"{each.text!r}: want a whole number of devices such as 8"
            problems.append(QuotaProblem(namespace=namespace, object=each.object, field=each.field, what=what))
            unreadable = True
        else:
            numbers.setdefault(number, each)
    if len(numbers) > 1:
        first, *others = numbers.values()
        named = ", ".join(f"{each.object} says {each.text}" for each in others)
        what = f"{first.text}, but {named}: want one number for the namespace; they are not added up"
        problems.append(QuotaProblem(namespace=namespace, object=first.object, field=first.field, what=what))
    return next(iter(numbers)) if len(numbers) == 1 and not unreadable else None


def _check_cap(plan: Plan, said: _Said, problems: list[QuotaProblem]) -> None:
    """Both numbers stay as written: which of them is wrong is not ours to say."""
    if plan.guaranteed is not None and plan.cap is not None and plan.guaranteed > plan.cap:
        what = (
            f"{plan.guaranteed} are guaranteed, but {plan.cap} are the most that it may use: want no more than that"
        )
        problems.append(QuotaProblem(namespace=plan.namespace, object=said.object, field=said.field, what=what))


def _stops_at(bearer: QuotaSpec | None, quotas: Sequence[QuotaSpec], resource: str = GPU) -> Decimal | None:
    """Where Kubernetes stops: at what the plan's own quota says, else at the least of those that count all pods."""
    bearing = [bearer] if bearer is not None and REQUESTS + resource in bearer.hard else _unscoped(quotas, resource)
    return min((hard for quota in bearing if (hard := _hard(quota, resource)) is not None), default=None)


def _devices(text: str) -> Decimal | None:
    number = amount(text)
    return None if number is None or number % 1 else number


def _hard(quota: QuotaSpec, resource: str = GPU) -> Decimal | None:
    """Whole devices: of a part of one nothing can be had."""
    number = amount(quota.hard.get(REQUESTS + resource, ""))
    return None if number is None else number // 1


def _unscoped(quotas: Sequence[QuotaSpec], resource: str = GPU) -> list[QuotaSpec]:
    """Those that count all pods of the namespace and limit their devices of the resource."""
    return [quota for quota in quotas if not quota.all_terms and REQUESTS + resource in quota.hard]
