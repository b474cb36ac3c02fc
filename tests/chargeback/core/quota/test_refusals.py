"""What the API server's refusals say, read by `core/quota/refusals.py`."""

from __future__ import annotations

import pytest

from chargeback.core.quota.refusals import STANDS_MS, Refusal, RefusedKey, refusal_of, standing

GPU = "requests.nvidia.com/gpu"
TOO_MANY = f'pods "web-x2x9k" is forbidden: exceeded quota: gpu, requested: {GPU}=3, used: {GPU}=6, limited: {GPU}=8'


def read(
    message: str, *, name: str = "web", count: int = 1, last_ms: int = 1000, first_ms: int | None = None
) -> Refusal:
    found = refusal_of("team", "ReplicaSet", name, message, count, last_ms, first_ms)
    assert found is not None
    return found


def test_one_key_of_one_quota() -> None:
    """As a real API server worded it."""
    found = read(f"Error creating: {TOO_MANY}")
    assert found.keys == (RefusedKey(quota="gpu", key=GPU, requested="3", used="6", limited="8"),)
    assert (found.workload, found.first_ms, found.last_ms) == ("ReplicaSet web", 1000, 1000)


def test_several_keys_and_quotas() -> None:
    """Lists are joined by commas; each quota has a sentence."""
    found = read(
        f"exceeded quota: a, requested: {GPU}=3,pods=1, used: {GPU}=6,pods=5, limited: {GPU}=8,pods=5, "
        "exceeded quota: b, requested: requests.memory=1Gi, used: requests.memory=0, limited: requests.memory=512Mi"
    )
    assert [(key.quota, key.key, key.requested, key.used, key.limited) for key in found.keys] == [
        ("a", GPU, "3", "6", "8"),
        ("a", "pods", "1", "5", "5"),
        ("b", "requests.memory", "1Gi", "0", "512Mi"),
    ]


def test_a_key_that_the_pod_must_name() -> None:
    """Nothing is exceeded: the pod does not say how much it wants."""
    message = (
        'pods "a" is forbidden: failed quota: all: must specify limits.memory for: main,side; requests.cpu for: main'
    )
    assert [(key.key, key.why, key.requested) for key in read(message).keys] == [
        ("limits.memory", "missing", None),
        ("requests.cpu", "missing", None),
    ]


def test_a_quota_that_was_not_counted_yet() -> None:
    """The controller has to write the status first."""
    (first, second) = read(f"status unknown for quota: new, resources: pods,{GPU}").keys
    assert (first.key, second.key, first.why) == ("pods", GPU, "status-unknown")


@pytest.mark.parametrize(
    "message",
    [
        "",
        'pods "a" is forbidden: no PriorityClass with name critical was found',
        "exceeded quota: gpu",
        f"exceeded quota: gpu, requested: , used: {GPU}=1, limited: {GPU}=1",
        "maximum nvidia.com/gpu usage per Pod is 8.  No limit is specified",
    ],
)
def test_other_refusals_are_not_a_quotas(message: str) -> None:
    """None, for no quota refused."""
    assert refusal_of("team", "Job", "train", message, 1, 0) is None


def test_tries_of_a_workload_are_one_refusal() -> None:
    """Each try names another pod, so each is an event of its own: counts add up, the last keys stand."""
    earlier = read(TOO_MANY, count=9, first_ms=100, last_ms=500)
    later = read(TOO_MANY.replace("=6", "=7"), count=2, first_ms=300, last_ms=900)
    other = read(TOO_MANY, name="api", last_ms=700)
    api, web = standing([later, other, earlier], now_ms=1000)
    assert (api.name, web.name) == ("api", "web")
    assert (web.count, web.first_ms, web.last_ms, web.keys[0].used) == (11, 100, 900, "7")


def test_a_workload_that_is_tried_no_more_does_not_wait() -> None:
    """Controllers try at least every 1,000 s; events live for an hour."""
    refusal = read(TOO_MANY, last_ms=5000)
    assert standing([refusal], 5000 + STANDS_MS - 1) == [refusal]
    assert standing([refusal], 5000 + STANDS_MS) == []
