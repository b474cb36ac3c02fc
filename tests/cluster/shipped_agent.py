"""The agent as the shipped manifests run it: a DaemonSet's pod with their account, token, mounts, rights and limits.

What a test machine has not is put in its place: the image is the machine's own Python and this checkout, mounted;
the driver's library comes by LD_LIBRARY_PATH, not by NVIDIA's container runtime; and pods share the host's network,
so that the aggregator is reached and nothing listens beyond loopback.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.image import IMAGE
from tests.cluster.node import Node
from tests.nvml.fake import FakeNvml
from tests.programs import free_port

ROOT = Path(__file__).resolve().parents[2]
PREFIX = Path(sys.prefix).resolve()
MANIFESTS = ROOT / "deploy/manifests"
NAMESPACE, NAME = "gpu-chargeback", "gpu-exporter"
BEAT_S = 1


def apply_namespace(node: Node) -> None:
    """The shipped namespace, settings and account, and what a GPU node has: a runtime class and a label."""
    plane = node.plane
    plane.call("POST", "/api/v1/namespaces", _manifest("namespace.yaml"))
    plane.call("POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", _manifest("settings.yaml"))
    plane.call("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", _manifest("agent-account.yaml"))
    classes = "/apis/node.k8s.io/v1/runtimeclasses"
    plane.create(classes, "RuntimeClass", "nvidia", version="node.k8s.io/v1", handler="nvidia")
    plane.merge(f"/api/v1/nodes/{node.name}", {"metadata": {"labels": {"nvidia.com/gpu.present": "true"}}})


def apply_agent(node: Node, nvml: FakeNvml, library: Path, push: str) -> str:
    """Create the DaemonSet, which pushes to this URL. Returns the URL of its metrics."""
    manifest = _manifest("agent.yaml")
    spec = manifest["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    port = free_port()
    spec["hostNetwork"] = True
    container |= {"image": IMAGE, "imagePullPolicy": "Never", "command": [str(PREFIX / "bin/gpu-exporter")]}
    container["ports"] = [{"name": "metrics", "containerPort": port}]
    for probe in ("livenessProbe", "readinessProbe"):
        container[probe]["httpGet"]["host"] = "127.0.0.1"
    _set_environment(
        container,
        GPU_EXPORTER_PUSH=push,
        GPU_EXPORTER_LISTEN=f"127.0.0.1:{port}",
        GPU_EXPORTER_BEAT=f"{BEAT_S}s",
        PYTHONPATH=str(ROOT),
        LD_LIBRARY_PATH=str(library.parent),
        FAKE_NVML_STATE=str(nvml.path),
    )
    _mount(spec, container, nvml.path, read_only=False)
    for path in outermost(Path("/usr"), Path(sys.base_prefix).resolve(), PREFIX, ROOT, library.parent):
        _mount(spec, container, path, read_only=True)
    node.plane.call("POST", f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets", manifest)
    return f"http://127.0.0.1:{port}"


def agent_pod(node: Node) -> str | None:
    """The name of the DaemonSet's pod on this node, once it is ready."""
    found = node.plane.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io/name={NAME}")
    for pod in found["items"]:
        conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
        if pod["spec"].get("nodeName") == node.name and conditions.get("Ready") == "True":
            return str(pod["metadata"]["name"])
    return None


def _manifest(name: str) -> Any:
    return yaml.safe_load((MANIFESTS / name).read_text())


def _set_environment(container: dict[str, Any], **values: str) -> None:
    kept = [entry for entry in container["env"] if entry["name"] not in values]
    container["env"] = kept + [{"name": name, "value": value} for name, value in values.items()]


def _mount(spec: dict[str, Any], container: dict[str, Any], path: Path, *, read_only: bool) -> None:
    name = f"machine-{len(spec['volumes'])}"
    spec["volumes"].append({"name": name, "hostPath": {"path": str(path)}})
    container["volumeMounts"].append({"name": name, "mountPath": str(path), "readOnly": read_only})


def outermost(*paths: Path) -> list[Path]:
    """Without those that lie in another."""
    return sorted({path for path in paths if not any(other in path.parents for other in paths)})
