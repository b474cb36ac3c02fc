"""Namespaces and quotas from files, as kubectl prints them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chargeback.cluster.files import read_namespaces, read_quotas
from chargeback.cluster.objects import ObjectsError
from chargeback.core.hours import parse_instant
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.rating.dimensions import Dimensions

KEYS = LabelKeys()
ONE = """
apiVersion: v1
kind: Namespace
metadata:
  name: alpha
  uid: u-1
  creationTimestamp: "2026-01-01T00:00:00Z"
  labels: {cost-center: cc-1, team: "007", gpu-tier: ""}
  managedFields:
    - {time: "2026-02-01T00:00:00Z", fieldsV1: {"f:metadata": {"f:labels": {"f:other": {}}}}}
    - {time: "2026-03-01T00:00:00Z", fieldsV1: {"f:metadata": {"f:labels": {"f:team": {}}}}}
    - {time: "2026-01-02T00:00:00Z", fieldsV1: {"f:status": {}}}
"""


def test_a_namespace_with_its_labels_and_when_they_were_written(tmp_path: Path) -> None:
    """Labels stay text, an empty one counts as absent, only our labels' times count."""
    path = tmp_path / "ns.yaml"
    path.write_text(ONE)
    (found,) = read_namespaces(path, KEYS)
    assert (found.name, found.uid, found.cost_center, found.team, found.tier) == ("alpha", "u-1", "cc-1", "007", None)
    assert found.created_ms == parse_instant("2026-01-01")
    assert found.labelled_ms == parse_instant("2026-03-01")


def test_the_labels_of_a_namespace_that_are_dimensions(tmp_path: Path) -> None:
    """By key, and none that is empty; the time of each counts as that of the owner's labels does."""
    path = tmp_path / "ns.yaml"
    path.write_text(ONE.replace("gpu-tier: ", "other: x, app: y, gpu-tier: "))
    keys = LabelKeys(dimensions=Dimensions(namespace=("other", "gpu-tier", "none"), pod=("app",)))
    (found,) = read_namespaces(path, keys)
    assert found.dimensions == (("other", "x"),)
    path.write_text(ONE.replace('"f:team"', '"f:app"'))
    assert read_namespaces(path, keys)[0].labelled_ms == parse_instant("2026-02-01")


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE}---\nkind: ConfigMap\nmetadata: {{name: other}}\n",
        "kind: List\nitems:\n  - {kind: Namespace, metadata: {name: alpha}}\n  - {kind: Pod, metadata: {name: p}}\n",
    ],
    ids=["documents", "a list"],
)
def test_other_kinds_in_the_file_are_passed_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ns.yaml"
    path.write_text(text)
    assert [found.name for found in read_namespaces(path, KEYS)] == ["alpha"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("", "no Namespace in it"),
        ("kind: Pod\nmetadata: {name: p}\n", "no Namespace in it"),
        ("kind: Namespace\nmetadata: {labels: {}}\n", "number 1: .*name"),
        (
            "kind: Namespace\nmetadata: {name: a, creationTimestamp: soon}\n",
            "Namespace number 1: .*creationTimestamp",
        ),
        ("kind: Namespace\nmetadata: {name: a, labels: [1]}\n", "number 1: .*labels"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "ns.yaml"
    path.write_text(text)
    with pytest.raises(ObjectsError, match=f"{path.name}: .*{said}"):
        read_namespaces(path, KEYS)


def test_a_quota_as_it_is_enforced(tmp_path: Path) -> None:
    """Of status, once the controller has written it; numbers stay text."""
    path = tmp_path / "quotas.yaml"
    path.write_text(
        "kind: List\nitems:\n"
        "  - kind: ResourceQuota\n    metadata: {name: gpu, namespace: a, annotations: {x: y}}\n"
        "    spec: {hard: {requests.nvidia.com/gpu: 8}}\n"
        "    status: {hard: {requests.nvidia.com/gpu: 4}, used: {requests.nvidia.com/gpu: 1}}\n"
        "  - kind: ResourceQuota\n    metadata: {name: new, namespace: b}\n"
        "    spec: {hard: {requests.nvidia.com/gpu: 2}}\n"
    )
    first, second = read_quotas(path)
    assert (first.namespace, first.name) == ("a", "gpu")
    assert (first.in_force, first.used) == ({"requests.nvidia.com/gpu": "4"}, {"requests.nvidia.com/gpu": "1"})
    assert (second.in_force, second.used) == ({"requests.nvidia.com/gpu": "2"}, {})


def test_a_quota_without_a_namespace_is_named(tmp_path: Path) -> None:
    path = tmp_path / "quotas.yaml"
    path.write_text("kind: ResourceQuota\nmetadata: {name: gpu}\n")
    with pytest.raises(ObjectsError, match=r"ResourceQuota gpu: metadata\.namespace: missing"):
        read_quotas(path)
