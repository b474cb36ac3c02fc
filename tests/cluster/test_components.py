"""The components of the plain manifests, as a real API server puts them on the agent's DaemonSet and admits it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.control_plane import ControlPlane, Refused, control_plane
from tests.cluster.shipped_agent import MANIFESTS, NAMESPACE
from tests.programs import wait_for

DAEMON_SETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets"
# Those that change the agent; the Prometheus operator's adds objects of its own.
COMPONENTS = ("gpu-operator", "mig")
OPERATOR = MANIFESTS / "components/prometheus-operator"
OF_OPERATOR = f"/apis/monitoring.coreos.com/v1/namespaces/{NAMESPACE}"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRDS = Path(__file__).parent / "crds"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("cluster"), controllers=False) as plane:
        plane.call("POST", "/api/v1/namespaces", _manifest("namespace.yaml"))
        yield plane


@pytest.fixture
def shipped(plane: ControlPlane) -> Iterator[Any]:
    """The DaemonSet as the API server keeps it."""
    yield plane.call("POST", DAEMON_SETS, _manifest("agent.yaml"))
    plane.call("DELETE", f"{DAEMON_SETS}/gpu-exporter")


def _manifest(name: str) -> Any:
    return yaml.safe_load((MANIFESTS / name).read_text())


def patched(plane: ControlPlane, component: str) -> Any:
    """What a component makes of the DaemonSet: kustomize merges as the API server does."""
    (patch,) = _manifest(f"components/{component}/kustomization.yaml")["patches"]
    assert patch["target"] == {"kind": "DaemonSet", "name": "gpu-exporter"}
    return plane.call(
        "PATCH",
        f"{DAEMON_SETS}/gpu-exporter",
        yaml.safe_load(patch["patch"]),
        kind="application/strategic-merge-patch+json",
    )


def test_on_mig_nodes_the_agent_may_see_the_instances_of_others(plane: ControlPlane, shipped: Any) -> None:
    """One capability and one variable more; all else, what it may not do included, stays."""
    found = patched(plane, "mig")["spec"]["template"]["spec"]
    pod = shipped["spec"]["template"]["spec"]
    (before,), (container,) = pod["containers"], found["containers"]
    assert container["securityContext"].pop("capabilities") == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    assert before["securityContext"].pop("capabilities") == {"drop": ["ALL"]}
    added = {"name": "NVIDIA_MIG_MONITOR_DEVICES", "value": "all"}
    assert [each for each in container.pop("env") if each != added] == before.pop("env")
    assert found == pod


def test_the_operator_sends_the_agent_away_by_the_label_of_its_own_exporter(
    plane: ControlPlane, shipped: Any
) -> None:
    found = patched(plane, "gpu-operator")["spec"]["template"]["spec"]
    pod = shipped["spec"]["template"]["spec"]
    assert found.pop("nodeSelector") == {"nvidia.com/gpu.deploy.dcgm-exporter": "true"}
    assert pod.pop("nodeSelector") == {"nvidia.com/gpu.present": "true"}
    assert found == pod


def test_components_go_together(plane: ControlPlane, shipped: Any) -> None:
    for component in COMPONENTS:
        found = patched(plane, component)["spec"]["template"]["spec"]
    assert found["containers"][0]["securityContext"]["capabilities"]["add"] == ["SYS_ADMIN"]
    assert found["nodeSelector"] == {"nvidia.com/gpu.deploy.dcgm-exporter": "true"}


@pytest.fixture(scope="module")
def operated(plane: ControlPlane) -> ControlPlane:
    """With the definitions of the Prometheus operator's objects."""
    for path in sorted(CRDS.glob("*.yaml")):
        plane.call("POST", DEFINITIONS, yaml.safe_load(path.read_text()))

    def serves(plural: str) -> bool:
        try:
            plane.call("GET", f"{OF_OPERATOR}/{plural}")
        except Refused:
            return False
        return True

    for path in CRDS.glob("*.yaml"):
        wait_for(f"{path.stem} are served", lambda plural=path.stem: serves(plural))
    return plane


def operator_objects() -> list[Any]:
    """All that the component brings, as `kubectl apply -k` sends it."""
    resources = yaml.safe_load((OPERATOR / "kustomization.yaml").read_text())["resources"]
    return [each for name in resources for each in yaml.safe_load_all((OPERATOR / name).read_text())]


def put(plane: ControlPlane, found: Any) -> Any:
    """Strictly: a field that the definition does not know is refused, not dropped."""
    return plane.call("POST", f"{OF_OPERATOR}/{found['kind'].lower()}s?fieldValidation=Strict", found)


def test_the_operator_s_objects_are_what_its_definitions_want(operated: ControlPlane) -> None:
    """Every one is admitted, and kept as it was sent."""
    objects = operator_objects()
    assert {each["kind"] for each in objects} == {"PodMonitor", "PrometheusRule"}
    for each in objects:
        assert put(operated, each)["spec"] == each["spec"]


def test_definitions_refuse_what_is_wrong(operated: ControlPlane) -> None:
    """A misspelt field, and a time that is none: so the test above can fail."""
    (monitor, *_), (rule, *_) = (
        [each for each in operator_objects() if each["kind"] == kind] for kind in ("PodMonitor", "PrometheusRule")
    )
    misspelt, timeless = deepcopy(monitor), deepcopy(rule)
    misspelt["metadata"]["name"] = timeless["metadata"]["name"] = "wrong"
    misspelt["spec"]["podMetricsEndpoints"][0]["honourLabels"] = True
    timeless["spec"]["groups"][0]["interval"] = "soon"
    with pytest.raises(Refused, match="honourLabels"):
        put(operated, misspelt)
    with pytest.raises(Refused, match="interval"):
        put(operated, timeless)
