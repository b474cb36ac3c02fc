"""A team of a test cluster: a namespace with an owner and a GPU quota, and all that can happen to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from tests.cluster.control_plane import ControlPlane, Refused
from tests.cluster.load import GPU, pod, quota

NAMESPACES = "/api/v1/namespaces"
KEY = f"requests.{GPU}"


# Between which instants it happened.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A pod, as the API server has it."""

    uid: str
    bound_ms: int


class Team:
    """A namespace with an owner and a quota of 8 GPUs."""

    def __init__(self, plane: ControlPlane, name: str, cost_center: str) -> None:
        self._plane, self.name, self.path = plane, name, f"{NAMESPACES}/{name}"
        labels = {"team": name, "cost-center": cost_center}
        made = plane.create(NAMESPACES, "Namespace", name, metadata={"labels": labels})
        self.uid: str = made["metadata"]["uid"]
        self.created_ms = _ms(made["metadata"]["creationTimestamp"])
        plane.call("POST", *quota(name, "gpus", {KEY: "8"}))

    def label(self, cost_center: str) -> int:
        """Change the owner. Returns when, by the API server's clock."""
        time.sleep(1.1)  # it notes whole seconds, and two changes within one cannot be told apart
        changed = self._plane.merge(self.path, {"metadata": {"labels": {"cost-center": cost_center}}})
        return max(_ms(entry["time"]) for entry in changed["metadata"]["managedFields"])

    def hold(self, name: str, gpus: int) -> Holder:
        """A pod on a node; without a grace period, for there is no kubelet to end it."""
        made = self._plane.call(
            "POST", *pod(self.name, name, {GPU: str(gpus)}, nodeName="n1", terminationGracePeriodSeconds=0)
        )
        return Holder(uid=made["metadata"]["uid"], bound_ms=_ms(made["metadata"]["creationTimestamp"]))

    def free(self, name: str) -> Span:
        """It has gone on return."""
        before_ms = now_ms()
        self._plane.call("DELETE", f"{self.path}/pods/{name}?gracePeriodSeconds=0")
        return before_ms, now_ms()

    def allow(self, gpus: int) -> None:
        self._plane.merge(f"{self.path}/resourcequotas/gpus", {"spec": {"hard": {KEY: str(gpus)}}})

    def is_counted(self) -> bool:
        """Whether the controller has taken in the quota; the API server admits no pod before."""
        return "used" in self._plane.call("GET", f"{self.path}/resourcequotas/gpus")["status"]

    def begin_to_go(self) -> None:
        self._plane.call("DELETE", self.path)

    def is_gone(self) -> bool:
        try:
            self._plane.call("GET", self.path)
        except Refused as error:
            return error.status == 404
        return False


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
