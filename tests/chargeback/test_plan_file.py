"""The plan file: what it says, and every problem at once with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from chargeback.core.hours import parse_instant
from chargeback.files.plans import PlanFileError, parse_plans, read_plan_file

GOOD = """
plans:
  - {namespace: alpha, guaranteed: 8, cap: 16, from: 2026-10-01, until: 2026-11-01}
  - {cluster: other, namespace: alpha, cap: 4}
  - {namespace: alpha, resource: nvidia.com/mig-1g.10gb, guaranteed: 7, price_key: NVIDIA A100-SXM4-80GB / 1g.10gb}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(PlanFileError) as raised:
        parse_plans(text, "plans.yaml", "lab", "Europe/Berlin")
    return str(raised.value).splitlines()


def test_what_a_file_says() -> None:
    """A bare date is the timezone's midnight; an entry without a cluster is of the one it is read for."""
    found = parse_plans(GOOD, "plans.yaml", "lab", "Europe/Berlin").entries
    assert {cluster: len(entries) for cluster, entries in found.items()} == {"lab": 2, "other": 1}
    first, second = found["lab"]
    assert (first.from_ms, first.until_ms) == (parse_instant("2026-09-30T22:00Z"), parse_instant("2026-10-31T23:00Z"))
    assert (first.guaranteed, first.cap, first.resource) == (8, 16, "nvidia.com/gpu")
    assert (second.price_key, second.from_ms, second.until_ms) == ("NVIDIA A100-SXM4-80GB / 1g.10gb", 0, None)
    assert (found["other"][0].guaranteed, found["other"][0].cap) == (None, 4)


def test_all_problems_at_once() -> None:
    """Each with its line, the field, what was seen and what is wanted."""
    text = """
plans:
  - {namespace: alpha, guaranteed: many, from: tomorrow}
  - {guaranteed: 3, cap: 2, until: 1999-01-01, from: 2026-10-01}
  - {namespace: beta, resource: cpu, gpus: 1}
  - [alpha, 8]
  - {namespace: beta, guaranteed: 1, price_key: " x", cap: {a: b}}
  - {cluster: null, namespace: beta, guaranteed: 1, price_key: ~}
"""
    assert problems(text) == [
        "plans.yaml:3: plans[0].guaranteed: 'many': want a whole number of devices from 0 to 1000000",
        "plans.yaml:3: plans[0].from: 'tomorrow': want an instant such as 2026-10-03T14:00:00Z",
        "plans.yaml:4: plans[1].namespace: missing",
        "plans.yaml:4: plans[1].until: '1999-01-01': want an instant after `from`",
        "plans.yaml:4: plans[1].cap: 2: want no less than the 3 that are guaranteed",
        (
            "plans.yaml:5: plans[2].gpus: not a key of this file: want one of cluster, namespace, resource, "
            "guaranteed, cap, price_key, from, until"
        ),
        "plans.yaml:5: plans[2].resource: 'cpu': want a GPU resource as pods write it, such as nvidia.com/gpu",
        "plans.yaml:5: plans[2].guaranteed: missing: want it, or a cap, or both",
        (
            "plans.yaml:6: plans[3]: want a mapping with cluster, namespace, resource, guaranteed, "
            "cap, price_key, from, until"
        ),
        "plans.yaml:7: plans[4].cap: want a text or number",
        (
            "plans.yaml:7: plans[4].price_key: ' x': want a card's model, of 1 to 200 printable characters, as "
            "`prices show` has it"
        ),
        "plans.yaml:8: plans[5].cluster: null: want a text or number",
        "plans.yaml:8: plans[5].price_key: null: want a text or number",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("guaranteed: 1", "guaranteed: 2, from: 2026-10-01"),
        ("guaranteed: 1, price_key: NVIDIA H100 80GB HBM3", "guaranteed: 2"),
        ("guaranteed: 1, price_key: NVIDIA H100 80GB HBM3", "guaranteed: 2, price_key: gpu.h100-80gb-hbm3"),
    ],
)
def test_two_entries_at_once_are_no_plan(one: str, other: str) -> None:
    """Which would hold? A model and its sku are one key."""
    (found,) = problems(f"plans: [{{namespace: a, {one}}}, {{namespace: a, {other}}}]")
    assert "lab / a / nvidia.com/gpu: two entries hold from" in found


def test_entries_that_follow_each_other_or_have_keys_of_their_own() -> None:
    after = (
        "plans: [{namespace: a, guaranteed: 1, until: 2026-10-01}, {namespace: a, guaranteed: 2, from: 2026-10-01}]"
    )
    keyed = "plans: [{namespace: a, guaranteed: 1, price_key: X}, {namespace: a, guaranteed: 2, price_key: Y}]"
    for text in (after, keyed, "plans: []"):
        parse_plans(text, "plans.yaml", "lab", "UTC")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "plans.yaml:1: the file: want a mapping with plans"),
        ("plans: 3", "plans.yaml:1: plans: want a list of plans; `plans: []` for none"),
        ("a: [", "plans.yaml: not YAML"),
    ],
)
def test_what_is_no_plan_file(text: str, problem: str) -> None:
    assert problems(text)[0].startswith(problem)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "plans.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanFileError, match="not UTF-8"):
        read_plan_file(tmp_path / "plans.yaml", "lab", "UTC")
