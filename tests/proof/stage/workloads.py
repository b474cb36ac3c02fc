"""Pods, Jobs and Deployments as the API wants them. Every pod carries the name of its workload as label `proof`."""

from __future__ import annotations

from typing import Any

from tests.cluster.image import IMAGE
from tests.proof.stage.scenario import Apply, Container, Kind

FOR_EVER_S = 100_000
# The worker is a process of its own, which a load is told of; the shell is there to end both at once.
_COMMAND = "trap 'exit 143' TERM; sleep {runs} & wait $!; exit {exit}"
_PATHS: dict[Kind, str] = {
    "pod": "/api/v1/namespaces/{}/pods",
    "job": "/apis/batch/v1/namespaces/{}/jobs",
    "deployment": "/apis/apps/v1/namespaces/{}/deployments",
}
KINDS = tuple(_PATHS)


def path_of(kind: Kind, namespace: str) -> str:
    return _PATHS[kind].format(namespace)


def manifest(step: Apply) -> dict[str, Any]:
    """The object. A pod is not restarted; a Job tries its pod six times more, as it does by default."""
    metadata = {"name": step.name, "labels": {"proof": step.name}}
    if step.kind == "pod":
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _pod_spec(step, "Never")}
    template = {
        "metadata": {"labels": {"proof": step.name}},
        "spec": _pod_spec(step, "Never" if step.kind == "job" else "Always"),
    }
    if step.kind == "job":
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
    spec = {
        "replicas": step.count,
        "selector": {"matchLabels": {"proof": step.name}},
        "template": template,
        # Old pods first: the new ones may want their cards.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _pod_spec(step: Apply, restart: str) -> dict[str, Any]:
    main = [_container(each, step.release) for each in step.containers if each.role == "main"]
    first = [_container(each, step.release) for each in step.containers if each.role != "main"]
    return {
        "hostNetwork": True,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "restartPolicy": restart,
        "initContainers": first,
        "containers": main,
    }


def _container(container: Container, release: str) -> dict[str, Any]:
    runs = FOR_EVER_S if container.runs is None else container.runs
    made: dict[str, Any] = {
        "name": container.name,
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", _COMMAND.format(runs=runs, exit=container.exit)],
        "env": [{"name": "RELEASE", "value": release}],
    }
    if container.gpus:
        made["resources"] = {"limits": {container.resource: container.gpus}}
    if container.role == "sidecar":
        made["restartPolicy"] = "Always"
    return made
