"""Guarantee and cap: who may say them, in which order, and what happens when people contradict themselves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from chargeback.core.owners.owners import Namespace
from chargeback.core.plans.sources import Plan, plans
from chargeback.core.quota.resources import CAP, GUARANTEED
from chargeback.core.quota.specs import QuotaSpec, ScopeTerm

REQUESTS, LIMITS = "requests.nvidia.com/gpu", "limits.nvidia.com/gpu"
SCOPED = {"terms": (ScopeTerm(scope="PriorityClass", operator="In", values=("high",)),)}


def quota(name: str = "gpu", requests: str | None = None, limits: str | None = None, **fields: Any) -> QuotaSpec:
    hard = {key: text for key, text in ((REQUESTS, requests), (LIMITS, limits)) if text is not None}
    return QuotaSpec(**{"namespace": "team", "name": name, "hard": hard} | fields)


def namespace(**annotations: str) -> Namespace:
    keys = {"guaranteed": GUARANTEED, "cap": CAP}
    return Namespace(name="team", annotations={keys[name]: text for name, text in annotations.items()})


def only(
    *quotas: QuotaSpec, on: Namespace | None = None, plans_from: str = "annotations"
) -> tuple[Plan | None, list[str]]:
    found, problems = plans(quotas, [on] if on else [], plans_from)
    assert len(found) <= 1
    return (found[0] if found else None), [str(problem) for problem in problems]


def numbers(plan: Plan | None) -> tuple[Decimal | None, Decimal | None, str, str | None]:
    assert plan is not None
    return (plan.guaranteed, plan.cap, plan.source, plan.quota)


def test_a_bare_quota_is_a_ceiling() -> None:
    """No plan; nothing is charged for it."""
    assert only(quota(requests="8", limits="32"), on=namespace()) == (None, [])


def test_the_pair_is_a_plan_where_policy_says_so() -> None:
    """requests. is the guarantee, limits. the cap; without limits. the cap is what Kubernetes enforces."""
    assert numbers(only(quota(requests="8", limits="32"), plans_from="quota")[0]) == (8, 32, "quota", "gpu")
    assert numbers(only(quota(requests="8"), plans_from="quota")[0]) == (8, 8, "quota", "gpu")
    assert only(quota(limits="32"), plans_from="quota") == (None, [])


@pytest.mark.parametrize("plans_from", ["annotations", "quota"])
def test_annotations_win_over_the_pair(plans_from: str) -> None:
    """On the quota; without a cap of its own the plan stops where the quota does."""
    annotated = quota(requests="32", limits="64", annotations={GUARANTEED: "8"})
    assert numbers(only(annotated, plans_from=plans_from)[0]) == (8, 32, "annotation", "gpu")


def test_annotations_on_the_namespace() -> None:
    """Capped by the least of the quotas that count all of its pods, and lying on that one if it is alone."""
    plan, problems = only(quota(requests="16"), on=namespace(guaranteed="8"))
    assert (numbers(plan), problems) == ((8, 16, "annotation", "gpu"), [])
    plan, _ = only(quota("a", "16"), quota("b", "12"), on=namespace(guaranteed="8"))
    assert numbers(plan) == (8, 12, "annotation", None)
    plan, _ = only(quota("scoped", "16", **SCOPED), on=namespace(guaranteed="8"))
    assert numbers(plan) == (8, None, "annotation", None)
    plan, _ = only(on=namespace(guaranteed="8", cap="10"))
    assert numbers(plan) == (8, 10, "annotation", None)


def test_a_cap_alone_guarantees_nothing() -> None:
    """None, not 0."""
    assert numbers(only(on=namespace(cap="4"))[0]) == (None, 4, "annotation", None)


def test_quotas_and_namespace_may_say_the_same() -> None:
    """Once is enough, twice is no contradiction; and it is never added up."""
    plan, problems = only(
        quota("a", "16", annotations={GUARANTEED: "8"}),
        quota("b", "16", annotations={GUARANTEED: "8.0"}),
        on=namespace(guaranteed="8"),
    )
    assert (numbers(plan), problems) == ((8, 16, "annotation", None), [])


@pytest.mark.parametrize("plans_from", ["annotations", "quota"])
def test_two_numbers_are_a_problem_and_no_number(plans_from: str) -> None:
    """Neither is taken, nor their sum, nor a weaker source."""
    plan, problems = only(
        quota("a", "16", annotations={GUARANTEED: "8"}),
        quota("b", "16", annotations={GUARANTEED: "4"}),
        plans_from=plans_from,
    )
    assert numbers(plan) == (None, 16, "annotation", None)
    (problem,) = problems
    assert problem.startswith(
        f"ResourceQuota team/a: {GUARANTEED}: 8, but ResourceQuota team/b says 4: want one number"
    )


def test_two_pairs_are_a_problem_too() -> None:
    """But a quota that forbids GPUs to other classes is no second pair."""
    plan, problems = only(quota("a", "8", "32"), quota("b", "4"), plans_from="quota")
    assert numbers(plan) == (None, 32, "quota", None)
    assert len(problems) == 1
    plan, problems = only(quota("a", "8", "32", **SCOPED), quota("others", "0", **SCOPED), plans_from="quota")
    assert (numbers(plan), problems) == ((8, 32, "quota", "a"), [])
    assert numbers(only(quota("none", "0"), plans_from="quota")[0]) == (0, 0, "quota", "none")


@pytest.mark.parametrize("text", ["many", "-8", "7.5", "", "NaN"])
def test_what_is_no_number_of_devices(text: str) -> None:
    """Named by object and key, with what was seen and what is wanted; no guess in its place."""
    plan, problems = only(quota(requests="16", annotations={GUARANTEED: text}), plans_from="quota")
    assert numbers(plan) == (None, 16, "annotation", "gpu")
    assert problems == [f"ResourceQuota team/gpu: {GUARANTEED}: {text!r}: want a whole number of devices such as 8"]


def test_more_guaranteed_than_capped() -> None:
    """Both stay as written, and it is said."""
    plan, problems = only(on=namespace(guaranteed="8", cap="4"))
    assert numbers(plan) == (8, 4, "annotation", None)
    assert problems == [
        f"Namespace team: {GUARANTEED}: 8 are guaranteed, but 4 are the most that it may use: want no more than that"
    ]
    assert only(quota(requests="8", limits="4"), plans_from="quota")[1] != []


def test_half_a_device_cannot_be_had() -> None:
    """A hard value of 8.5 stops at 8."""
    assert numbers(only(quota(requests="8.5", annotations={GUARANTEED: "8"}))[0]) == (8, 8, "annotation", "gpu")


def test_an_annotation_on_a_quota_of_other_things() -> None:
    """The cap then comes from the quota that limits GPUs."""
    plan, _ = only(quota("objects", annotations={GUARANTEED: "2"}), quota("gpu", "4"))
    assert numbers(plan) == (2, 4, "annotation", "objects")


def test_each_namespace_has_its_own() -> None:
    """In order of their names."""
    found, _ = plans([quota(namespace=name, requests="1") for name in ("b", "a")], [], "quota")
    assert [(plan.namespace, plan.guaranteed) for plan in found] == [("a", 1), ("b", 1)]
