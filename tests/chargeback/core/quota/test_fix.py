"""What --fix makes of quotas; no cluster needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.quota.fix import mend
from chargeback.core.quota.resources import GUARANTEED
from chargeback.core.quota.specs import PriorityClass, QuotaObjects, QuotaSpec, ScopeTerm
from tests.chargeback.core.quota.linting import CLASSES, GPU, LIMITS, REQUESTS, after_fix, found, in_classes, quota


@pytest.mark.parametrize(
    ("hard", "annotations", "mended", "guaranteed"),
    [
        ({REQUESTS: "8", LIMITS: "32"}, {}, {REQUESTS: "32"}, "8"),
        ({REQUESTS: "8", LIMITS: "32"}, {GUARANTEED: "4"}, {REQUESTS: "8"}, "4"),
        ({REQUESTS: "8", LIMITS: "4"}, {}, {REQUESTS: "8"}, None),
        ({LIMITS: "32", GPU: "8"}, {}, {REQUESTS: "32"}, "8"),
        ({LIMITS: "4"}, {}, {REQUESTS: "4"}, None),
        ({GPU: "4", "pods": "9"}, {}, {REQUESTS: "4", "pods": "9"}, None),
        ({f"request.{GPU}": "4", REQUESTS: "8"}, {}, {REQUESTS: "8"}, None),
        ({"requests.a/b": "1", "limits.a/b": "2"}, {}, {"requests.a/b": "2"}, None),
    ],
)
def test_dead_keys_mended(
    hard: dict[str, str], annotations: dict[str, str], mended: dict[str, str], guaranteed: str | None
) -> None:
    """A pair below and above is guarantee and cap; otherwise what Kubernetes enforces stays as it is."""
    objects = QuotaObjects(quotas=(quota(hard=hard, annotations=annotations),))
    (fixed,) = after_fix(objects).quotas
    assert (fixed.hard, fixed.annotations.get(GUARANTEED)) == (mended, guaranteed)


def test_a_class_is_renamed_only_where_one_is_meant() -> None:
    """`critical` ends two names here, and `urgent` none: they stay, and stay findings."""
    classes = (*CLASSES, PriorityClass(name="web-critical"))
    scoped = quota(hard={REQUESTS: "8"}, terms=in_classes("critical", "urgent", "high"))
    fixed = after_fix(QuotaObjects(quotas=(scoped,), priority_classes=classes))
    assert fixed.quotas[0].terms == in_classes("critical", "urgent", "ml-high")
    assert "unknown-class" in [finding.rule for finding in found(fixed)]


def test_without_classes_in_sight_no_name_is_mended() -> None:
    """Nor are other scopes touched."""
    terms = (*in_classes("high"), ScopeTerm(scope="NotTerminating"))
    fixed = after_fix(QuotaObjects(quotas=(quota(hard={LIMITS: "8"}, terms=terms),)))
    assert fixed.quotas[0].terms == terms


def test_a_hole_beside_pods_without_a_class_is_closed_by_name() -> None:
    """Where pods without a class are counted, the others are named with In."""
    scoped = quota(hard={REQUESTS: "8"}, terms=in_classes("ml-low", operator="NotIn"))
    (mended,) = mend(QuotaObjects(quotas=(scoped,), priority_classes=CLASSES))
    assert isinstance(mended.object, QuotaSpec)
    assert (mended.object.terms, mended.object.hard) == (in_classes("ml-low"), {REQUESTS: "0"})


def test_no_hole_is_closed_where_no_class_is_covered() -> None:
    """A quota of 0 for everybody is not what anybody meant."""
    scoped = quota(hard={REQUESTS: "8"}, terms=in_classes("urgent"))
    assert mend(QuotaObjects(quotas=(scoped,), priority_classes=CLASSES)) == []


def test_what_kubectl_keeps_for_itself_is_left_out() -> None:
    """It holds the object as it was."""
    kept = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "x"}
    (fixed,) = mend(QuotaObjects(quotas=(quota(hard={LIMITS: "1"}, annotations=kept),)))
    assert fixed.object.annotations == {"note": "x"}


KEYS = st.sampled_from(
    [
        REQUESTS,
        LIMITS,
        GPU,
        f"request.{GPU}",
        "requests.nvidia.com/mig-1g.10gb",
        "pods",
        "services",
        "count/jobs.batch",
    ]
)
TERMS = st.lists(
    st.sampled_from(
        [
            *in_classes("critical"), *in_classes("ml-high", "critical"), *in_classes("ml-low", operator="NotIn"),
            *in_classes(operator="Exists"), *in_classes(operator="DoesNotExist"),
        ]
    ),
    max_size=2,
)  # fmt: skip
QUOTAS = st.builds(
    quota,
    name=st.sampled_from(["a", "b"]),
    hard=st.dictionaries(KEYS, st.sampled_from(["0", "0.5", "4", "8", "32"]), min_size=1),
    terms=TERMS.map(tuple),
)


@given(quotas=st.lists(QUOTAS, max_size=2, unique_by=lambda each: each.name))
def test_mending_removes_errors_and_is_done_once(quotas: list[QuotaSpec]) -> None:
    """What is mended has no errors of the keys, and there is nothing more to mend."""
    once = after_fix(QuotaObjects(quotas=tuple(quotas), priority_classes=CLASSES))
    twice = {"unclear-plan"} if len(quotas) > 1 else set()  # two pairs of one namespace stay two
    assert {finding.rule for finding in found(once)} <= {"uncovered-class"} | twice
    assert mend(once) == []
