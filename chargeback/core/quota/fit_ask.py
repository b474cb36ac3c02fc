"""What is asked of a quota fit, and one line of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from chargeback.core.quota.limit_ranges import is_gpu
from chargeback.core.quota.pod_template import PodTemplate, of_gpus

_BINARY = ((2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Pods alike in a namespace. is_whole: False: of the pod only its GPUs and its class are known."""

    namespace: str
    pod: PodTemplate
    pods: int = 1
    is_whole: bool = True

    @property
    def gpus(self) -> dict[str, Decimal]:
        """Devices of each GPU resource that one pod asks for, before any default."""
        asked = self.pod.admitted(()).effective()
        return {name: number for name, number in sorted(asked.items()) if is_gpu(name) and number}


@dataclass(frozen=True, slots=True, kw_only=True)
class FitLine:
    """One reason. fits: None: it cannot be said from here."""

    object: str
    field: str
    what: str
    fits: bool | None


def ask_for_gpus(
    namespace: str,
    gpus: int,
    *,
    resource: str = "nvidia.com/gpu",
    pods: int = 1,
    priority_class: str | None = None,
) -> Ask:
    """Pods with one container that has some devices of a resource; nothing else of them is known."""
    return Ask(namespace=namespace, pod=of_gpus(gpus, resource, priority_class), pods=pods, is_whole=False)


def show(number: Decimal) -> str:
    """A quantity for people: 8, 0.5, 64Gi."""
    for unit, suffix in _BINARY:
        if number >= unit and not number % (unit // 4):
            return f"{(number / unit).normalize():f}{suffix}"
    return f"{number.normalize():f}"
