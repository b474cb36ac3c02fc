"""A report on quotas as plain values, for `/v1/quotas` and `--output json`. Quantities are text, exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from fractions import Fraction

from chargeback.core.hours import format_instant
from chargeback.core.quota.holders import Holder
from chargeback.core.quota.idle_shares import IdleShare
from chargeback.core.quota.refusals import Refusal
from chargeback.core.quota.report import NamespaceQuotas, PlanHeld, QuotaReport
from chargeback.core.quota.uses import QuotaUse

Plain = dict[str, object]


def report_json(report: QuotaReport) -> Plain:
    """quotas: a row a GPU key; namespaces: what surrounds them; problems and unknown: what is missing, and why."""
    return {
        "quotas": [use_json(use, report.saturation_s) for use in report.uses],
        "namespaces": [_namespace_json(each) for each in report.namespaces],
        "offered": None if report.offered is None else dict(report.offered),
        "problems": [str(problem) for problem in report.problems],
        "unknown": dict(report.unknown),
    }


def use_json(use: QuotaUse, saturation_s: Mapping[tuple[str, str, str], Fraction]) -> Plain:
    full_in_s = saturation_s.get(use.key)
    return {
        "namespace": use.namespace,
        "quota": use.quota,
        "resource": use.resource,
        "enforced": use.enforced,
        "hard": show(use.hard),
        "used": show(use.used),
        "counted": show(use.counted),
        "counted_by": use.counted_by,
        "guaranteed": show(use.guaranteed),
        "cap": show(use.cap),
        "saturation_s": None if full_in_s is None else float(full_in_s),
        "holders": None if use.holders is None else [_holder_json(holder) for holder in use.holders],
    }


def plan_json(found: PlanHeld) -> Plain:
    plan = found.plan
    return {
        "namespace": plan.namespace,
        "resource": plan.resource,
        "guaranteed": show(plan.guaranteed),
        "cap": show(plan.cap),
        "held": None if found.held is None else str(found.held),
        "source": plan.source,
        "quota": plan.quota,
    }


def show(number: Decimal | None) -> str | None:
    """A number as people write it: no exponent, no zeros behind."""
    return None if number is None else format(number.normalize(), "f")


def _namespace_json(found: NamespaceQuotas) -> Plain:
    return {
        "namespace": found.namespace,
        "plan": None if found.plan is None else plan_json(PlanHeld(found.plan, found.held)),
        "part_plans": [plan_json(each) for each in found.parts],
        "other_keys": [
            {"quota": key.quota, "key": key.key, "hard": show(key.hard), "used": show(key.used)}
            for key in found.others
        ],
        "closest": None if found.closest is None else {"quota": found.closest.quota, "key": found.closest.key},
        "refusals": None if found.refusals is None else [_refusal_json(each) for each in found.refusals],
        "waiting": None
        if found.waiting is None
        else [
            {
                "pod": pod.name,
                "requests": dict(pod.requests),
                "since": format_instant(pod.since_ms),
                "waits": pod.waits,
            }
            for pod in found.waiting
        ],
        "idle": None if found.idle is None else _idle_json(found.idle),
    }


def _holder_json(holder: Holder) -> Plain:
    return {
        "workload": holder.workload,
        "bound": holder.bound,
        "pending": holder.pending,
        "pods": [asdict(pod) for pod in holder.pods],
    }


def _refusal_json(refusal: Refusal) -> Plain:
    return {
        "kind": refusal.kind,
        "name": refusal.name,
        "gpus": refusal.gpus,
        "since": format_instant(refusal.first_ms),
        "last": format_instant(refusal.last_ms),
        "count": refusal.count,
        "keys": [asdict(key) for key in refusal.keys],
    }


def _idle_json(idle: IdleShare) -> Plain:
    """In whole-card hours, for people; the ratio is of what is known."""
    hour_ms = 3_600_000
    return {
        "ratio": None if idle.ratio is None else round(float(idle.ratio), 4),
        "held_gpu_hours": round(float(idle.held_ms / hour_ms), 4),
        "known_gpu_hours": round(float(idle.known_ms / hour_ms), 4),
    }
