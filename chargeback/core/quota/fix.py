"""Mends what the quota lint finds, as far as that needs no number that only people know.

Out come corrected objects to look at; nothing here or elsewhere applies them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal

from chargeback.core.quota.claim_rules import uncounted_classes
from chargeback.core.quota.limit_ranges import LimitItem, LimitRange, amount, is_gpu
from chargeback.core.quota.resources import GUARANTEED
from chargeback.core.quota.rules import named_resource, scope_carries
from chargeback.core.quota.specs import (
    DEVICES,
    GPU,
    LIMITS,
    PRIORITY_CLASS,
    REQUESTS,
    SYSTEM_CLASSES,
    QuotaObjects,
    QuotaSpec,
    ScopeTerm,
    class_text,
    is_counted,
)

# What kubectl keeps for itself would be wrong in a corrected object.
_NOT_OURS = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """A corrected or new object, and what was done to it."""

    object: QuotaSpec | LimitRange
    done: tuple[str, ...]


def mend(objects: QuotaObjects) -> list[Mended]:
    """The objects that want a change, changed; and those that are needed beside them."""
    mended: list[Mended] = []
    quotas: list[QuotaSpec] = []
    for quota in objects.quotas:
        changed, done = _mend_quota(quota, objects.class_names)
        changed, beside = _split(changed)
        quotas.append(changed)
        if beside is not None:
            quotas.append(beside)
            done.append(f"keys that the scope cannot carry are in {beside.name}")
        if done:
            mended.append(Mended(object=changed, done=tuple(done)))
        if beside is not None:
            mended.append(Mended(object=beside, done=(f"keys that the scope of {quota.name} cannot carry",)))
    objects = replace(objects, quotas=tuple(quotas))
    mended += [*_close_holes(objects), *_count_claims(objects)]
    for limits in objects.limit_ranges:
        if (mended_limits := _mend_limits(limits)) != limits:
            done = ["GPUs are bounded for each container, and nobody gets one unasked"]
            mended.append(Mended(object=mended_limits, done=tuple(done)))
    return [replace(each, object=_without_foreign(each.object)) for each in mended]


def _mend_quota(quota: QuotaSpec, classes: frozenset[str] | None) -> tuple[QuotaSpec, list[str]]:
    hard, annotations = dict(quota.hard), dict(quota.annotations)
    done = []
    for key, text in hard.items():
        number = amount(text)
        if number is not None and number % 1 and is_gpu(named_resource(key).removeprefix(REQUESTS)):
            hard[key] = str(number.to_integral_value(ROUND_FLOOR))
            done.append(f"{key}: {text} is {hard[key]}, for pods ask for whole devices")
    # Backwards, `request.` and bare names come before `limits.`: a pair is seen as one.
    dead = sorted((key for key in quota.hard if not is_counted(key)), reverse=True)
    done += [_mend_key(hard, annotations, key) for key in dead]
    terms = tuple(_mend_term(term, classes, done) for term in quota.terms)
    return replace(quota, hard=hard, annotations=annotations, terms=terms), done


def _mend_key(hard: dict[str, str], annotations: dict[str, str], key: str) -> str:
    """Turn a dead key into what it means, in place. Says what was done."""
    text, resource = hard.pop(key), named_resource(key)
    live = REQUESTS + resource
    if live not in hard:
        hard[live] = text
        return f"{key} is {live}"
    low, high = amount(hard[live]), amount(text)
    is_pair = key == LIMITS + resource and low is not None and high is not None and low < high
    if not is_pair or GUARANTEED in annotations:
        return f"{key} is gone: {live} is what Kubernetes enforces"
    if resource == GPU:
        annotations[GUARANTEED] = hard[live]
    hard[live] = text
    return f"{key} was meant as the cap: it is {live} now" + (
        ", the guarantee an annotation" if resource == GPU else ""
    )


def _mend_term(term: ScopeTerm, classes: frozenset[str] | None, done: list[str]) -> ScopeTerm:
    """`critical` is `ml-critical` where only one class ends so; other unknown names stay, and stay findings."""
    if term.scope != PRIORITY_CLASS or classes is None:
        return term
    values = []
    for value in term.values:
        ends = [name for name in sorted(classes - SYSTEM_CLASSES) if name.endswith(f"-{value}")]
        if value not in classes and len(ends) == 1:
            done.append(f"PriorityClass {value} is {ends[0]}")
            values.append(ends[0])
        else:
            values.append(value)
    return replace(term, values=tuple(values))


def _split(quota: QuotaSpec) -> tuple[QuotaSpec, QuotaSpec | None]:
    """The quota with what its scope can carry, and one without a scope for the rest, if there is any."""
    scopes = quota.pod_scopes
    rest = {key: text for key, text in quota.hard.items() if scopes and not scope_carries(scopes, key)}
    if not rest:
        return quota, None
    hard = {key: text for key, text in quota.hard.items() if key not in rest}
    beside = replace(quota, name=f"{quota.name}-objects", hard=rest, scopes=(), terms=(), annotations={})
    return replace(quota, hard=hard), beside


def _close_holes(objects: QuotaObjects) -> Iterator[Mended]:
    """For classes that no quota counts, one that allows them nothing: how many they may have, people must say."""
    for namespace, quotas in objects.gpu_quotas():
        holes: dict[tuple[str | None, ...], list[str]] = {}
        for resource in sorted({resource for quota in quotas for resource in quota.gpu_resources}):
            if found := objects.uncovered(quotas, resource):
                holes.setdefault(tuple(found), []).append(resource)
        for number, (classes, resources) in enumerate(holes.items(), start=1):
            if (term := _term_for(objects, quotas, classes)) is None:
                continue
            name = f"{quotas[0].name}-other-classes" + (f"-{number}" if number > 1 else "")
            quota = QuotaSpec(
                namespace=namespace,
                name=name,
                hard={REQUESTS + resource: "0" for resource in resources},
                terms=(term,),
                labels=quotas[0].labels,
            )
            named = ", ".join(map(class_text, classes))
            yield Mended(object=quota, done=(f"no quota counts pods of {named}: 0 until you say how many",))


def _count_claims(objects: QuotaObjects) -> Iterator[Mended]:
    """For classes of devices whose claims no quota counts, one that allows none."""
    for namespace, quotas, classes in uncounted_classes(objects):
        first = next(quota for quota in quotas if quota.gpu_resources)
        quota = QuotaSpec(
            namespace=namespace,
            name=f"{first.name}-claims",
            hard={found.name + DEVICES: "0" for found in classes},
            labels=first.labels,
        )
        named = ", ".join(found.name for found in classes)
        yield Mended(object=quota, done=(f"no quota counts claims of {named}: 0 until you say how many",))


def _term_for(objects: QuotaObjects, quotas: list[QuotaSpec], classes: tuple[str | None, ...]) -> ScopeTerm | None:
    """What matches these classes and not those that are covered; None where no name is certain."""
    if None not in classes:
        return ScopeTerm(scope=PRIORITY_CLASS, operator="In", values=tuple(c for c in classes if c is not None))
    named = {value for quota in quotas for term in quota.all_terms for value in term.values}
    known = named if objects.class_names is None else set(objects.own_classes)
    covered = tuple(sorted(known - set(classes)))
    return ScopeTerm(scope=PRIORITY_CLASS, operator="NotIn", values=covered) if covered else None


def _mend_limits(limits: LimitRange) -> LimitRange:
    """Containers get no GPU unasked; a bound on pods becomes one on containers, which refuses no pod without GPUs."""
    containers = next((item for item in limits.items if item.type == "Container"), LimitItem(type="Container"))
    moved: dict[str, Decimal] = {}
    items: list[LimitItem] = []
    for item in limits.items:
        if item.type == "Pod" and any(item.gpus(bound) for bound in item.bounds):
            moved |= item.gpus("max")
            item = _without_gpus(item)
        if item.type == "Container":
            item = _with_defaults(item)
        if any(item.bounds.values()):
            items.append(item)
    missing = {key: str(value) for key, value in moved.items() if key not in containers.gpus("max")}
    if missing:
        new = LimitItem(type="Container", bounds={"max": missing, "default": dict.fromkeys(missing, "0")})
        items.append(new)
    return replace(limits, items=tuple(items))


def _with_defaults(item: LimitItem) -> LimitItem:
    bounds = {name: dict(values) for name, values in item.bounds.items()}
    for resource, most in item.gpus("max").items():
        if most:
            bounds.setdefault("default", {}).setdefault(resource, "0")
    for resource in item.gpus("default"):
        bounds["default"][resource] = "0"
    # Kubernetes takes the default for these, and others would contradict it; a ratio refuses whoever has none.
    for name in ("defaultRequest", "min", "maxLimitRequestRatio"):
        for resource, number in item.gpus(name).items():
            if name == "maxLimitRequestRatio" or number != amount(bounds.get("default", {}).get(resource, "")):
                del bounds[name][resource]
    bounds = {name: values for name, values in bounds.items() if values}
    return item if bounds == item.bounds else replace(item, bounds=bounds)


def _without_gpus(item: LimitItem) -> LimitItem:
    kept: dict[str, Mapping[str, str]] = {
        name: {key: text for key, text in values.items() if not is_gpu(key)} for name, values in item.bounds.items()
    }
    return replace(item, bounds={name: values for name, values in kept.items() if values})


def _without_foreign(found: QuotaSpec | LimitRange) -> QuotaSpec | LimitRange:
    annotations = {key: text for key, text in found.annotations.items() if key != _NOT_OURS}
    return replace(found, annotations=annotations)
