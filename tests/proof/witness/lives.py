"""Lives of pods and owners of namespaces, as the API server's own stamps tell them: whole seconds, in unix ms."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.proof.witness.watching import DELETED, Object

SECOND_MS = 1000
UNOWNED = "unowned"
VENDOR = "nvidia.com/"
COST_CENTER, TEAM, TIER = "cost-center", "team", "gpu-tier"


@dataclass(slots=True, kw_only=True)
class Life:
    """A pod. finished_ms: the last second in which one of its containers ran, once it is over.

    containers  those that keep their devices to the end: main ones and sidecars. init: the others
    asks        what its containers want, as (container, resource, count)
    started     the second in which each container first ran, as far as it was heard
    refused_ms  when it was heard to be over, and nobody says since when; gone_ms: that it is no more
    """

    uid: str
    namespace: str
    name: str
    containers: tuple[str, ...] = ()
    init: tuple[str, ...] = ()
    asks: tuple[tuple[str, str, int], ...] = ()
    bound_ms: int | None = None
    started: dict[str, int] = field(default_factory=dict)
    finished_ms: int | None = None
    refused_ms: int | None = None
    gone_ms: int | None = None
    evidence: list[str] = field(default_factory=list)

    def see(self, what: str, pod: Object, at_ms: int) -> None:
        """Take in what the watch says, in its order."""
        self._see_containers(pod["spec"])
        status = pod.get("status", {})
        if self.bound_ms is None and (bound := _bound(status)) is not None:
            self.bound_ms = bound
            self.evidence.append(f"bound {clock(bound)}")
        for container, started_ms in _starts(status):
            if container not in self.started:
                self.started[container] = started_ms
                self.evidence.append(f"{container} started {clock(started_ms)}")
        if self.finished_ms is None and status.get("phase") in ("Succeeded", "Failed"):
            ends = [end.get("finishedAt") for end in _ends(status)]
            # Of one that the kubelet could not find any more nobody says when it ended.
            self.finished_ms = max(map(stamp, ends)) if ends and all(ends) else None
            if self.finished_ms is not None:
                self.evidence.append(f"finished {clock(self.finished_ms)}")
            elif self.refused_ms is None:
                self.refused_ms = at_ms
                self.evidence.append(f"refused {clock(at_ms)}: {status.get('reason', '')}")
        if what == DELETED and self.gone_ms is None:
            self.gone_ms = at_ms
            self.evidence.append(f"gone {clock(at_ms)}")

    def until_ms(self) -> int | None:
        """The end of the last second in which it ran; None: it lives."""
        ends = (self.finished_ms, self.refused_ms, self.gone_ms)
        last_ms = next((each for each in ends if each is not None), None)
        return None if last_ms is None else last_ms // SECOND_MS * SECOND_MS + SECOND_MS

    def _see_containers(self, spec: Object) -> None:
        init = spec.get("initContainers", ())
        sidecars = [each["name"] for each in init if each.get("restartPolicy") == "Always"]
        self.containers = (*(each["name"] for each in spec["containers"]), *sidecars)
        self.init = tuple(each["name"] for each in init if each["name"] not in sidecars)
        self.asks = tuple(
            (each["name"], resource, int(count))
            for each in spec["containers"]
            for resource, count in sorted(each.get("resources", {}).get("limits", {}).items())
            if resource.startswith(VENDOR)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose a namespace is from an instant on."""

    from_ms: int
    account: str
    tier: str | None
    team: str = ""


class Owners:
    """Of all namespaces, by name: from their labels, and since when the API server has them."""

    def __init__(self) -> None:
        self._versions: dict[str, list[Owner]] = {}

    def see(self, what: str, namespace: Object, at_ms: int) -> None:
        if what == DELETED:
            return
        meta = namespace["metadata"]
        labels: Mapping[str, str] = meta.get("labels", {})
        account, tier = labels.get(COST_CENTER) or UNOWNED, labels.get(TIER) or None
        team = labels.get(TEAM, "")
        versions = self._versions.setdefault(meta["name"], [])
        if versions and (versions[-1].account, versions[-1].tier, versions[-1].team) == (account, tier, team):
            return
        from_ms = _written(meta) if versions else stamp(meta["creationTimestamp"])
        versions.append(Owner(from_ms=from_ms, account=account, tier=tier, team=team))

    def over(self, namespace: str, from_ms: int, until_ms: int) -> Iterator[tuple[int, int, Owner]]:
        """Its owners one after the other, within a span."""
        versions = self._versions.get(namespace) or [Owner(from_ms=0, account=UNOWNED, tier=None)]
        ends = [each.from_ms for each in versions[1:]]
        for owner, end in itertools.zip_longest(versions, ends, fillvalue=None):
            assert owner is not None
            begin_ms = from_ms if owner is versions[0] else max(owner.from_ms, from_ms)
            end_ms = until_ms if end is None else min(end, until_ms)
            if begin_ms < end_ms:
                yield begin_ms, end_ms, owner


def stamp(text: str) -> int:
    """The API server's time in unix ms."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def clock(at_ms: int) -> str:
    """For people: the time of day, UTC."""
    seconds, ms = divmod(at_ms % 86_400_000, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{ms:03}" if ms else "")


def _bound(status: Object) -> int | None:
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "True":
            return stamp(condition["lastTransitionTime"])
    return None


def _starts(status: Object) -> Iterator[tuple[str, int]]:
    """Each container's first known start: of one that began anew the life before this one tells, if any."""
    for kind in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(kind, ()):
            lives = [*each.get("lastState", {}).values(), *each.get("state", {}).values()]
            found = [stamp(life["startedAt"]) for life in lives if life.get("startedAt")]
            if found:
                yield each["name"], min(found)


def _ends(status: Object) -> Iterator[Mapping[str, Any]]:
    for kind in ("containerStatuses", "initContainerStatuses"):
        for each in status.get(kind, ()):
            if "terminated" in each.get("state", {}):
                yield each["state"]["terminated"]


def _written(meta: Object) -> int:
    """When it was last written: its labels have just been seen to be others."""
    fields: Iterable[Object] = meta.get("managedFields", ())
    return max(stamp(each["time"]) for each in fields if not each.get("subresource"))
