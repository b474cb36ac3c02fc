"""GPU quotas: what a ResourceQuota allows, what is used of it, and the plan (guarantee and cap) it carries.

Kubernetes enforces `requests.` of an extended resource only; it stores `limits.` and bare names and counts neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

GUARANTEED, CAP = "gpu-chargeback/guaranteed-gpus", "gpu-chargeback/cap-gpus"
_REQUESTS, _LIMITS = "requests.", "limits."
# As the device plugin names them: whole cards, renamed shares of them, MIG devices. Not `nvidia.com/gpumem` or
# `gpucores`, which are other schedulers' amounts.
_GPU_RESOURCE = re.compile(r"nvidia\.com/(?:gpu(?:\.[\w.-]+)?|mig-[\w.-]+)", re.ASCII)
_SUFFIXES = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip
# Annotations are anybody's text: NaN, infinity and absurd exponents are no quantities.
_NUMBER = r"(?:\d{1,19}(?:\.\d{0,9})?|\.\d{1,9})"
_QUANTITY = re.compile(
    rf"\+?({_NUMBER}(?:[eE][+-]?\d)?)|\+?({_NUMBER})({'|'.join(filter(None, _SUFFIXES))})", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceQuota:
    """A quota as the API shows it. hard: of status, else of spec; used: of status; quantities as text."""

    namespace: str
    name: str
    hard: Mapping[str, str] = field(default_factory=dict)
    used: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """One GPU resource of one quota. Numbers are devices of that resource; None: not said.

    hard        what Kubernetes enforces, if `enforced`; else a key that it stores and never counts
    used        as Kubernetes counts it
    guaranteed  of the plan: what the namespace pays for, used or not
    cap         of the plan: what it may use at most
    """

    namespace: str
    quota: str
    resource: str
    enforced: bool
    hard: Decimal
    used: Decimal | None = None
    guaranteed: Decimal | None = None
    cap: Decimal | None = None


def parse_quantity(text: str) -> Decimal:
    """A Kubernetes quantity, zero or more: of devices, bytes, cores, objects. Raises ValueError."""
    if not (match := _QUANTITY.fullmatch(text)):
        raise ValueError(f"{text!r}: want a Kubernetes quantity such as 8")
    plain, number, suffix = match.groups()
    return Decimal(plain) if plain else Decimal(number) * _SUFFIXES[suffix]


def quota_uses(quotas: Iterable[ResourceQuota], plans_from: str) -> tuple[list[QuotaUse], list[str]]:
    """The GPU resources of all quotas, ordered; and what could not be read, each named."""
    uses: list[QuotaUse] = []
    problems: list[str] = []
    for quota in quotas:
        numbers = _Numbers(quota, problems)
        for key in sorted(quota.hard):
            resource, enforced = gpu_resource(key)
            hard = numbers.hard(key) if resource else None
            if resource is None or hard is None:
                continue
            is_plan = enforced and resource == "nvidia.com/gpu"
            uses.append(
                QuotaUse(
                    namespace=quota.namespace,
                    quota=quota.name,
                    resource=key,
                    enforced=enforced,
                    hard=hard,
                    used=numbers.used(key),
                    guaranteed=numbers.guaranteed(hard, plans_from) if is_plan else None,
                    cap=numbers.cap(hard, resource, plans_from) if is_plan else None,
                )
            )
    return sorted(uses, key=lambda use: (use.namespace, use.quota, use.resource)), problems


def gpu_resource(key: str) -> tuple[str | None, bool]:
    """The GPU resource that a quota's key names (None: another matter), and whether Kubernetes enforces the key."""
    for prefix in (_REQUESTS, _LIMITS, ""):
        resource = key.removeprefix(prefix) if key.startswith(prefix) else ""
        if _GPU_RESOURCE.fullmatch(resource):
            return resource, prefix == _REQUESTS
    return None, False


class _Numbers:
    """Reads a quota's quantities; what cannot be read is absent and named."""

    def __init__(self, quota: ResourceQuota, problems: list[str]) -> None:
        self._quota = quota
        self._problems = problems

    def hard(self, key: str) -> Decimal | None:
        return self._read(self._quota.hard, key)

    def used(self, key: str) -> Decimal | None:
        return self._read(self._quota.used, key)

    def guaranteed(self, hard: Decimal, plans_from: str) -> Decimal | None:
        annotated = self._read(self._quota.annotations, GUARANTEED)
        return hard if annotated is None and plans_from == "quota" else annotated

    def cap(self, hard: Decimal, resource: str, plans_from: str) -> Decimal | None:
        """Without a cap of its own a plan's cap is what the quota enforces."""
        annotated = self._read(self._quota.annotations, CAP)
        if annotated is not None:
            return annotated
        if plans_from == "quota":
            limit = self._read(self._quota.hard, _LIMITS + resource)
            return hard if limit is None else limit
        return hard if GUARANTEED in self._quota.annotations else None

    def _read(self, values: Mapping[str, str], key: str) -> Decimal | None:
        if key not in values:
            return None
        try:
            return parse_quantity(values[key])
        except ValueError as error:
            problem = f"ResourceQuota {self._quota.namespace}/{self._quota.name}: {key}: {error}"
            if problem not in self._problems:
                self._problems.append(problem)
            return None
