"""What quotas allow and what is used of it, key by key: as Kubernetes counts, and as we do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from chargeback.core.claims import Claim
from chargeback.core.plans.sources import Plan
from chargeback.core.pods import Pod
from chargeback.core.quota.claim_holders import claim_holders
from chargeback.core.quota.gpu_keys import NVIDIA_CLASSES, GpuKey, gpu_keys, is_claimed
from chargeback.core.quota.holders import Holder, devices_of, holders
from chargeback.core.quota.problems import QuotaProblem
from chargeback.core.quota.resources import parse_quantity
from chargeback.core.quota.specs import REQUESTS, QuotaSpec

KUBERNETES, US = "kubernetes", "us"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """One GPU key of one quota. Numbers are devices of that resource; None: not known.

    resource    the key as it is written in the quota
    enforced    Kubernetes counts it and refuses more; else it stores the key and ignores it
    hard        of the quota's status; of what is written, until the controller has taken that in
    used        as Kubernetes counts it
    counted     as we count it: devices of all pods that match the quota's scopes and are not over, pending ones too;
                of claimed devices, those of all claims
    holders     whose they are, the greatest first
    guaranteed, cap  of the namespace's plan, where it lies on this key
    """

    namespace: str
    quota: str
    resource: str
    enforced: bool
    hard: Decimal
    used: Decimal | None = None
    counted: Decimal | None = None
    holders: tuple[Holder, ...] | None = None
    guaranteed: Decimal | None = None
    cap: Decimal | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.namespace, self.quota, self.resource)

    @property
    def counted_by(self) -> str | None:
        """Whose number `taken` is; None: nobody counts it."""
        return None if self.taken is None else KUBERNETES if self.enforced else US

    @property
    def taken(self) -> Decimal | None:
        """Kubernetes' number where it enforces one; ours for a key that it never counts."""
        return self.used if self.enforced else self.counted

    @property
    def is_full(self) -> bool:
        """Nothing is left of it. What is allowed none of is shut on purpose, not full."""
        return self.taken is not None and self.hard > 0 and self.taken >= self.hard

    @property
    def differs(self) -> bool:
        """Both counted, and not the same. For moments that is usual: a quota's status lags behind its pods."""
        return self.used is not None and self.counted is not None and self.used != self.counted


def quota_uses(
    quotas: Iterable[QuotaSpec],
    pods: Mapping[str, Sequence[Pod]] | None,
    plans: Iterable[Plan] = (),
    classes: frozenset[str] = NVIDIA_CLASSES,
    claimed: frozenset[str] = frozenset(),
    claims: Mapping[str, Sequence[Claim]] | None = None,
) -> tuple[list[QuotaUse], list[QuotaProblem]]:
    """The GPU keys of all quotas, ordered; and what could not be read.

    pods     by namespace, all that ask for GPUs; None: not known, so we count nothing
    classes  device classes of GPUs
    claimed  resources that claims count against, too (by a DeviceClass that stands in for them): of these we
             see a part only, so our own count says nothing
    claims   by namespace, all of them; None: not known
    """
    planned = {(plan.namespace, plan.quota, REQUESTS + plan.resource): plan for plan in plans}
    found: list[QuotaUse] = []
    problems: list[QuotaProblem] = []
    for quota in quotas:
        hard, used = read_numbers(quota, problems)
        held: dict[str, list[Holder] | None] = {}
        for key in gpu_keys(hard, classes):
            who = None
            if is_claimed(key):
                who = None if claims is None else claim_holders(quota, key, claims.get(quota.namespace, ()))
            elif pods is not None and key.resource is not None and key.resource not in claimed:
                if key.resource not in held:
                    held[key.resource] = holders(quota, key.resource, pods.get(quota.namespace, ()))
                who = held[key.resource]
            plan = planned.get((quota.namespace, quota.name, key.key))
            found.append(_use(quota, key, hard[key.key], used.get(key.key), who, plan))
    return sorted(found, key=lambda use: use.key), problems


def _use(
    quota: QuotaSpec, key: GpuKey, hard: Decimal, used: Decimal | None, who: list[Holder] | None, plan: Plan | None
) -> QuotaUse:
    return QuotaUse(
        namespace=quota.namespace,
        quota=quota.name,
        resource=key.key,
        enforced=key.enforced,
        hard=hard,
        used=used,
        counted=None if who is None else Decimal(devices_of(who)),
        holders=None if who is None else tuple(who),
        guaranteed=plan.guaranteed if plan else None,
        cap=plan.cap if plan else None,
    )


def read_numbers(quota: QuotaSpec, problems: list[QuotaProblem]) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """A quota's hard and used, as far as they can be read; what cannot is named once."""
    read: list[dict[str, Decimal]] = []
    unreadable: dict[str, str] = {}
    for texts in (quota.in_force, quota.used):
        numbers: dict[str, Decimal] = {}
        for key, text in texts.items():
            try:
                numbers[key] = parse_quantity(text)
            except ValueError as error:
                unreadable.setdefault(key, str(error))
        read.append(numbers)
    problems += [
        QuotaProblem(namespace=quota.namespace, object=quota.label, field=key, what=what)
        for key, what in unreadable.items()
    ]
    return read[0], read[1]
