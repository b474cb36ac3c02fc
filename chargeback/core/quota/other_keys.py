"""The keys of a quota that are not about GPUs: a GPU workload is refused by any of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from chargeback.core.quota.gpu_keys import NVIDIA_CLASSES, gpu_keys
from chargeback.core.quota.specs import QuotaSpec
from chargeback.core.quota.uses import read_numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """One key of one quota: pods, cores, bytes, objects. None: not known."""

    namespace: str
    quota: str
    key: str
    hard: Decimal
    used: Decimal | None = None

    @property
    def fullness(self) -> Decimal | None:
        """used / hard; None where nobody says. What is allowed none of is full."""
        if self.used is None:
            return None
        return self.used / self.hard if self.hard else Decimal(1)


def other_keys(quotas: Iterable[QuotaSpec], classes: frozenset[str] = NVIDIA_CLASSES) -> list[KeyUse]:
    """Every key that is not about GPUs, the fullest first; those of which nobody knows the use come last."""
    found = []
    for quota in quotas:
        hard, used = read_numbers(quota, [])
        of_gpus = {key.key for key in gpu_keys(hard, classes)}
        found += [
            KeyUse(namespace=quota.namespace, quota=quota.name, key=key, hard=number, used=used.get(key))
            for key, number in hard.items()
            if key not in of_gpus
        ]
    return sorted(found, key=_fullest_first)


def closest(keys: Iterable[KeyUse]) -> KeyUse | None:
    """The key that will refuse first. What is allowed none of refuses on purpose and is left out."""
    bounded = [key for key in keys if key.hard and key.used is not None]
    return min(bounded, key=_fullest_first, default=None)


def _fullest_first(key: KeyUse) -> tuple[Decimal, str, str]:
    return (Decimal(1) if key.fullness is None else -key.fullness, key.quota, key.key)
