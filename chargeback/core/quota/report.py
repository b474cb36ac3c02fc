"""All that is to be said of a cluster's GPU quotas at one instant, by namespace: pure, from what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeVar

from chargeback.core.claims import Claim
from chargeback.core.owners.owners import Namespace
from chargeback.core.plans.book import PlanVersion
from chargeback.core.plans.sources import Plan, plans, plans_of_parts
from chargeback.core.pods import Pod
from chargeback.core.quota.gpu_keys import gpu_classes
from chargeback.core.quota.holders import is_made_by
from chargeback.core.quota.idle_shares import IdleShare
from chargeback.core.quota.other_keys import KeyUse, closest, other_keys
from chargeback.core.quota.problems import QuotaProblem
from chargeback.core.quota.refusals import Refusal, standing
from chargeback.core.quota.specs import QuotaSpec
from chargeback.core.quota.uses import QuotaUse, quota_uses

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaFacts:
    """What is known of a cluster. None: not known, which is not the same as none.

    pods          all that ask for GPUs, those that wait included
    claims        of devices (DRA), of any class
    extended      each device class, and the resource that it stands in for
    offered       devices of each GPU resource that the nodes have together
    refusals      as events say them, old ones included
    idle          by namespace, of the last rated or running hours; None: no ledger was asked
    saturation_s  by (namespace, quota, key), as samples tell it; None: nobody has taken any
    filed         plans that a plan file says now
    unknown       what is not known, and why
    """

    quotas: Sequence[QuotaSpec] = ()
    namespaces: Sequence[Namespace] = ()
    pods: Sequence[Pod] | None = None
    claims: Sequence[Claim] | None = None
    extended: Sequence[tuple[str, str | None]] = ()
    offered: Mapping[str, int] | None = None
    refusals: Sequence[Refusal] | None = None
    idle: Mapping[str, IdleShare] | None = None
    saturation_s: Mapping[tuple[str, str, str], Fraction] | None = None
    plans_from: str = "annotations"
    filed: Sequence[PlanVersion] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingPod:
    """A pod that no quota refused and no node took. waits: the scheduler's reason; None: it has given none."""

    name: str
    requests: Mapping[str, int]
    since_ms: int
    waits: str | None = None


@dataclass(frozen=True, slots=True)
class PlanHeld:
    """A plan, and how many devices of its resource its pods have or wait for, whatever quota counts them."""

    plan: Plan
    held: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceQuotas:
    """One namespace that has a GPU quota or a plan. Sequences are None where nothing of their kind is known.

    plan      of whole GPUs; held: devices of it, as in PlanHeld; parts: plans of other resources
    others    its quotas' other keys, the fullest first; closest: which of them will refuse first
    refusals  workloads that wait because a quota refuses them
    waiting   pods that wait for the scheduler
    """

    namespace: str
    uses: tuple[QuotaUse, ...] = ()
    plan: Plan | None = None
    held: int | None = None
    parts: tuple[PlanHeld, ...] = ()
    others: tuple[KeyUse, ...] = ()
    closest: KeyUse | None = None
    refusals: tuple[Refusal, ...] | None = None
    waiting: tuple[WaitingPod, ...] | None = None
    idle: IdleShare | None = None

    @property
    def plans(self) -> tuple[PlanHeld, ...]:
        return self.parts if self.plan is None else (PlanHeld(self.plan, self.held), *self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaReport:
    """idle: by namespace, of those without a quota or a plan, too."""

    namespaces: tuple[NamespaceQuotas, ...] = ()
    problems: tuple[QuotaProblem, ...] = ()
    saturation_s: Mapping[tuple[str, str, str], Fraction] = field(default_factory=dict)
    offered: Mapping[str, int] | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    idle: Mapping[str, IdleShare] = field(default_factory=dict)

    def of(self, namespace: str) -> QuotaReport:
        """What is about one namespace."""
        return replace(
            self,
            namespaces=tuple(each for each in self.namespaces if each.namespace == namespace),
            problems=tuple(each for each in self.problems if each.namespace == namespace),
            idle={name: share for name, share in self.idle.items() if name == namespace},
        )

    @property
    def uses(self) -> list[QuotaUse]:
        return [use for each in self.namespaces for use in each.uses]

    @property
    def plans(self) -> list[PlanHeld]:
        return [plan for each in self.namespaces for plan in each.plans]


def quota_report(facts: QuotaFacts, now_ms: int) -> QuotaReport:
    """now_ms: by the API server's clock, to tell which refusals still stand and which pods linger."""
    classes = gpu_classes(facts.extended)
    claimed = frozenset(resource for _, resource in facts.extended if resource)
    pods = None if facts.pods is None else _by(facts.pods, lambda pod: pod.namespace)
    found_plans, problems = plans(facts.quotas, facts.namespaces, facts.plans_from, facts.filed)
    parts = plans_of_parts(facts.quotas, facts.filed)
    claims = None if facts.claims is None else _by(facts.claims, lambda claim: claim.namespace)
    counted = None if pods is None else {name: _counted(mine, now_ms) for name, mine in pods.items()}
    uses, unreadable = quota_uses(facts.quotas, counted, [*found_plans, *parts], classes, claimed, claims)
    uses_of, plan_of = _by(uses, lambda use: use.namespace), {plan.namespace: plan for plan in found_plans}
    parts_of = _by(parts, lambda plan: plan.namespace)
    quotas_of = _by(facts.quotas, lambda quota: quota.namespace)
    refusals = None if facts.refusals is None else _by(standing(facts.refusals, now_ms), lambda each: each.namespace)
    namespaces = []
    for name in sorted(uses_of.keys() | plan_of.keys() | parts_of.keys()):
        others = other_keys(quotas_of.get(name, ()), classes)
        mine = None if pods is None else pods.get(name, [])
        plan = plan_of.get(name)
        namespaces.append(
            NamespaceQuotas(
                namespace=name,
                uses=tuple(uses_of.get(name, ())),
                plan=plan,
                held=None if plan is None else _held(mine, plan.resource, claimed),
                parts=tuple(PlanHeld(part, _held(mine, part.resource, claimed)) for part in parts_of.get(name, ())),
                others=tuple(others),
                closest=closest(others),
                refusals=None if refusals is None else tuple(_still(refusals.get(name, ()), mine or ())),
                waiting=None if mine is None else tuple(_waiting(mine)),
                idle=(facts.idle or {}).get(name),
            )
        )
    return QuotaReport(
        namespaces=tuple(namespaces),
        problems=tuple(dict.fromkeys([*problems, *unreadable])),
        saturation_s={use.key: Fraction(0) for use in uses if use.is_full} | dict(facts.saturation_s or {}),
        offered=facts.offered,
        unknown=facts.unknown,
        idle=facts.idle or {},
    )


def _counted(pods: Iterable[Pod], now_ms: int) -> list[Pod]:
    """Without those that linger: a node that was lost keeps them, and nobody from taking their place."""
    return [pod for pod in pods if pod.lingers_from_ms is None or now_ms <= pod.lingers_from_ms]


def _held(pods: Sequence[Pod] | None, resource: str, claimed: frozenset[str]) -> int | None:
    """None: not known, for claims count against the resource, too, or no pods are."""
    if pods is None or resource in claimed:
        return None
    return sum(pod.requests.get(resource, 0) for pod in pods if not pod.terminal)


def _still(refusals: Iterable[Refusal], pods: Sequence[Pod]) -> Iterator[Refusal]:
    """Those whose last try was refused: a pod made later ends it. Pods that were admitted show what a workload is."""
    for refusal in refusals:
        admitted = [pod for pod in pods if is_made_by(pod.name, refusal.name)]
        if all(pod.created_ms <= refusal.last_ms for pod in admitted):
            yield replace(refusal, gpus=refusal.gpus or bool(admitted) or None)


def _waiting(pods: Iterable[Pod]) -> list[WaitingPod]:
    """The oldest first."""
    waiting = [
        WaitingPod(name=pod.name, requests=pod.requests, since_ms=pod.created_ms, waits=pod.waits)
        for pod in pods
        if pod.node is None and not pod.terminal
    ]
    return sorted(waiting, key=lambda pod: (pod.since_ms, pod.name))


def _by(values: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for value in values:
        found.setdefault(key(value), []).append(value)
    return found
