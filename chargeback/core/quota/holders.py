"""Who holds what a quota counts: pods that match its scopes, by workload; and the count that follows.

As Kubernetes counts: every pod that is not over, whether it runs or still waits for a node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from chargeback.core.pods import Pod
from chargeback.core.quota.specs import PRIORITY_CLASS, QuotaSpec

# What controllers hang on a pod's name: five letters of Kubernetes' own alphabet, behind a ReplicaSet's hash or an
# index; StatefulSets a number alone.
_RANDOM = r"[bcdfghjklmnpqrstvwxz2456789]"
_SUFFIX = re.compile(rf"(?:-\d+)?-{_RANDOM}{{5}}|-\d+")
_MADE = re.compile(rf"(.+?)(?:(?:-{_RANDOM}{{6,10}}|-\d+)?-{_RANDOM}{{5}}|-\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderPod:
    """A pod and its devices. node: None while it waits; waits: for what, as the scheduler says it."""

    name: str
    devices: int
    node: str | None = None
    waits: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The pods of one workload that count against one key. workload: by their names, which is a guess.

    bound    devices of pods that have a node
    pending  devices of pods that wait for one; they count, too
    """

    workload: str
    pods: tuple[HolderPod, ...]

    @property
    def bound(self) -> int:
        return sum(pod.devices for pod in self.pods if pod.node is not None)

    @property
    def pending(self) -> int:
        return sum(pod.devices for pod in self.pods if pod.node is None)


def takes(quota: QuotaSpec, pod: Pod) -> bool | None:
    """Whether a quota counts a pod of its namespace; None: a scope asks what is not known of pods here."""
    terms = quota.all_terms
    if pod.terminal or not terms:
        return not pod.terminal
    if not quota.takes_class(pod.priority_class):
        return False
    answers = [_in_scope(term.scope, pod) for term in terms if term.scope != PRIORITY_CLASS]
    return False if False in answers else None if None in answers else True


def holders(quota: QuotaSpec, resource: str, pods: Iterable[Pod]) -> list[Holder] | None:
    """Who holds a resource under a quota, the greatest first; None where a scope leaves that open.

    pods: all pods of the namespace that ask for GPUs, those that wait included.
    """
    found: dict[str, list[HolderPod]] = {}
    for pod in pods:
        if not (devices := pod.requests.get(resource, 0)):
            continue
        match takes(quota, pod):
            case None:
                return None
            case True:
                holder = HolderPod(name=pod.name, devices=devices, node=pod.node, waits=pod.waits)
                found.setdefault(workload_of(pod.name), []).append(holder)
    listed = [
        Holder(workload=workload, pods=tuple(sorted(each, key=lambda pod: pod.name)))
        for workload, each in found.items()
    ]
    return sorted(listed, key=lambda holder: (-holder.bound - holder.pending, holder.workload))


def devices_of(found: Iterable[Holder]) -> int:
    """What they hold together: our own count of a key."""
    return sum(holder.bound + holder.pending for holder in found)


def workload_of(pod: str) -> str:
    """The name of what made a pod, by the pod's: `web-7d4b9c6f5-x2x9k` and `web-0` are of `web`."""
    match = _MADE.fullmatch(pod)
    return match[1] if match else pod


def is_made_by(pod: str, maker: str) -> bool:
    """Whether a pod's name is one that a Job, ReplicaSet or StatefulSet of that name gives."""
    return pod.startswith(f"{maker}-") and _SUFFIX.fullmatch(pod, len(maker)) is not None


def _in_scope(scope: str, pod: Pod) -> bool | None:
    match scope:
        case "Terminating":
            return pod.has_deadline
        case "NotTerminating":
            return not pod.has_deadline
        case "BestEffort":
            return pod.best_effort
        case "NotBestEffort":
            return not pod.best_effort
        case "CrossNamespacePodAffinity":
            return None
        case _:  # of volumes, not of pods
            return False
