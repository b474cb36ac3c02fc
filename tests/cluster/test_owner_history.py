"""Owners with history from a real API server: labels, namespaces and keys that change while nobody looks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chargeback.cli.main import main
from tests.cluster.control_plane import AGGREGATOR_TOKEN, ControlPlane, Refused, apply_shipped_rights, control_plane
from tests.programs import running, wait_for

Version = dict[str, Any]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        apply_shipped_rights(plane)
        yield plane


@contextmanager
def serving(plane: ControlPlane, data: Path, *arguments: str) -> Iterator[None]:
    kubeconfig = ("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN)))
    settings = ("serve", "--data", str(data), "--cluster", "lab", *kubeconfig, *arguments)
    with running("chargeback.cli.main", *settings, log=data / "serve.log"):
        yield


def owners(data: Path, *arguments: str) -> str:
    ended = CliRunner().invoke(main, ["owners", *arguments, "--data", str(data)])
    return ended.stdout if ended.exit_code == 0 else "[]"


def history(data: Path, namespace: str, *arguments: str) -> list[Version]:
    found: list[Version] = json.loads(owners(data, "history", namespace, "--output", "json", *arguments))
    return found


def wait_versions(data: Path, namespace: str, count: int) -> list[Version]:
    """Wait until it has so many; what they are, as recorded."""
    wait_for(f"{count} versions of {namespace}", lambda: len(history(data, namespace, "--recorded")) >= count)
    return history(data, namespace, "--recorded")


def make(plane: ControlPlane, name: str, **labels: str) -> Any:
    return plane.create("/api/v1/namespaces", "Namespace", name, metadata={"labels": labels})


def label(plane: ControlPlane, name: str, labels: dict[str, str | None]) -> str:
    """Change labels; the time that the API server keeps of it, the last of all."""
    made = plane.merge(f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}})
    return max(entry["time"] for entry in made["metadata"]["managedFields"])


def delete(plane: ControlPlane, name: str) -> None:
    plane.call("DELETE", f"/api/v1/namespaces/{name}")

    def is_gone() -> bool:
        try:
            plane.call("GET", f"/api/v1/namespaces/{name}")
        except Refused as refused:
            return refused.status == 404
        return False

    wait_for(f"{name} gone", is_gone)


def next_seconds() -> None:
    """Let the API server's clock, which is in seconds, go on."""
    time.sleep(2.1)


def test_a_label_that_changed_while_nobody_looked_counts_from_its_own_time(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """A correction before it holds until then; the same labels, seen again after a restart, do not undo it."""
    made = make(plane, "moved", **{"cost-center": "cc-1", "team": "red"})
    created = made["metadata"]["creationTimestamp"]
    with serving(plane, tmp_path):
        wait_versions(tmp_path, "moved", 1)
    owners(tmp_path, "set", "moved", "--cost-center", "cc-9", "--from", created, "--why", "wrong from the start")
    with serving(plane, tmp_path):
        make(plane, "witness")
        wait_versions(tmp_path, "witness", 1)
        assert [each["cost_center"] for each in history(tmp_path, "moved")] == ["cc-9"]
    next_seconds()
    written = label(plane, "moved", {"cost-center": "cc-2"})
    next_seconds()
    with serving(plane, tmp_path):
        wait_versions(tmp_path, "moved", 3)
    found = [
        (each["from"], each["until"], each["cost_center"], each["source"]) for each in history(tmp_path, "moved")
    ]
    assert found == [(created, written, "cc-9", "correction"), (written, None, "cc-2", "api")]


def test_a_namespace_made_anew_is_another_one(plane: ControlPlane, tmp_path: Path) -> None:
    """With equal labels, while nobody looked: its version begins at its own creation."""
    first = make(plane, "anew", **{"cost-center": "cc-1"})["metadata"]
    with serving(plane, tmp_path):
        wait_versions(tmp_path, "anew", 1)
    next_seconds()
    delete(plane, "anew")
    second = make(plane, "anew", **{"cost-center": "cc-1"})["metadata"]
    next_seconds()
    with serving(plane, tmp_path):
        found = wait_versions(tmp_path, "anew", 2)
        assert [(each["from"], each["until"], each["cost_center"]) for each in found] == [
            (first["creationTimestamp"], second["creationTimestamp"], "cc-1"),
            (second["creationTimestamp"], None, "cc-1"),
        ]
        delete(plane, "anew")
        wait_for("its end", lambda: history(tmp_path, "anew")[-1]["until"] is not None)


def test_other_label_keys_act_from_when_they_are_read(plane: ControlPlane, tmp_path: Path) -> None:
    """Not from when the label was written, however long ago that was."""
    made = make(plane, "rekeyed", **{"cost-center": "cc-1"})
    next_seconds()
    written = label(plane, "rekeyed", {"example.com/pays": "pays-1"})
    with serving(plane, tmp_path):
        wait_versions(tmp_path, "rekeyed", 1)
    next_seconds()
    restarted = datetime.now(UTC)
    with serving(plane, tmp_path, "--label-cost-center", "example.com/pays"):
        before, after = wait_versions(tmp_path, "rekeyed", 2)
    assert (before["from"], before["cost_center"]) == (made["metadata"]["creationTimestamp"], "cc-1")
    assert after["cost_center"] == "pays-1"
    since = datetime.fromisoformat(after["from"])
    assert since >= restarted - timedelta(seconds=1) > datetime.fromisoformat(written)


def test_rules_name_whom_labels_do_not(plane: ControlPlane, tmp_path: Path) -> None:
    """By other labels of the namespace too; a label that is taken away leaves it to the rule from then on."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n- {name: batch, selector: kind=batch, cost-center: shared}\n")
    made = make(plane, "ruled", kind="batch", team="red")
    with serving(plane, tmp_path, "--owner-rules", str(rules)):
        (found,) = wait_versions(tmp_path, "ruled", 1)
        first = (found["from"], found["cost_center"], found["team"], found["source"])
        assert first == (made["metadata"]["creationTimestamp"], "shared", "red", "rule:batch")
        label(plane, "ruled", {"kind": None})
        assert wait_versions(tmp_path, "ruled", 2)[1]["cost_center"] is None
        label(plane, "ruled", {"kind": "batch"})
        assert wait_versions(tmp_path, "ruled", 3)[2]["source"] == "rule:batch"
