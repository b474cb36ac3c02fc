"""`/v1/quotas/lint` and `/v1/quotas/fit` of a server that follows a real cluster, under the shipped rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.control_plane import AGGREGATOR_TOKEN, ControlPlane, apply_shipped_rights, control_plane
from tests.cluster.quota_cluster import GPU, create, documents, put_limits, put_pod, put_quota
from tests.programs import Program, chargeback, running, wait_for


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        apply_shipped_rights(plane)
        for found in documents("as-written/priority-classes.yaml"):
            create(plane, found)
        yield plane


@pytest.fixture(scope="module")
def server(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder: Path = tmp_path_factory.mktemp("serve")
    kubeconfig = str(plane.kubeconfig(AGGREGATOR_TOKEN))
    arguments = ("serve", "--data", str(folder), "--cluster", "lab", "--kubeconfig", kubeconfig)
    with running("chargeback.cli.main", *arguments, log=folder / "serve.log") as server:
        yield server


def findings(server: Program, namespace: str) -> set[tuple[str, str]]:
    """Rule and object of all that was found about a namespace."""
    found: dict[str, Any] = server.get_json("/v1/quotas/lint")
    return {(each["rule"], each["object"]) for each in found["findings"] if namespace in each["object"]}


def test_the_lint_follows_the_cluster(plane: ControlPlane, server: Program) -> None:
    """Faults appear with the objects and go with them; what the command says under the same rights is the same."""
    create(plane, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "written"}})
    put_quota(plane, "written", {f"requests.{GPU}": "8", f"limits.{GPU}": "32"})
    put_limits(plane, "written", type="Container", max={GPU: "8"})
    expected = {
        ("dead-key", "ResourceQuota written/gpu"),
        ("ceiling-only", "ResourceQuota written/gpu"),
        ("injected-gpus", "LimitRange written/gpu"),
        ("no-cost-center", "Namespace written"),
    }
    wait_for("the faults", lambda: findings(server, "written") == expected)
    assert server.get_json("/v1/quotas/lint")["unknown"] == {}
    kubeconfig = str(plane.kubeconfig(AGGREGATOR_TOKEN))
    ended = chargeback("quota", "lint", "--kubeconfig", kubeconfig, check=False)
    about = [line for line in ended.stdout.decode().splitlines() if "written" in line]
    assert {line.split(" (")[1].rstrip(")") for line in about} == {rule for rule, _ in expected}
    assert ended.stderr == b""
    plane.call("DELETE", "/api/v1/namespaces/written/limitranges/gpu")
    wait_for(
        "one less", lambda: findings(server, "written") == expected - {("injected-gpus", "LimitRange written/gpu")}
    )


def test_the_fit_follows_the_cluster(plane: ControlPlane, server: Program) -> None:
    """Six of eight fit; once three are used, they do not."""
    create(plane, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fitting"}})
    put_quota(plane, "fitting", {f"requests.{GPU}": "8"})

    def said() -> tuple[object, object]:
        found = server.get_json("/v1/quotas/fit?namespace=fitting&gpus=6")
        lines: Any = found["lines"]
        return found["fits"], lines[-1]["what"]

    path = "/v1/quotas/lint"
    wait_for("the quota", lambda: ("ceiling-only", "ResourceQuota fitting/gpu") in findings(server, "fitting"), 30)
    wait_for("room", lambda: said() == (True, "0 of 8 used, 6 asked: 8 left"))
    put_pod(plane, "fitting", 3)
    wait_for("no room", lambda: said() == (False, "3 of 8 used, 6 asked: 5 left"))
    assert server.get_json(path)["cluster"] == "lab"
