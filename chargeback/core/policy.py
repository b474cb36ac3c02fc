"""How to bill, as dated data: changing it today leaves yesterday alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

SHARING = ("configured", "active")
BASES = ("allocation", "usage")
PLANS_FROM = ("annotations", "quota")
FAULTED = ("bill", "credit")
IDLE = ("none", "even", "list")
APPROVER = ("any", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version, valid from from_ms (a whole UTC hour or a local midnight) until the next.

    sharing     `configured`: an unsold share is idle; `active`: the held shares carry the whole device
    mig_weight  w of a MIG instance's fraction: 1 by compute slices, 0 by memory slices
    basis       `allocation`: what is held is billed; `usage`: the busy part of it
    plans_from  `quota`: the pair requests./limits. of a ResourceQuota is a plan; else annotations only
    faulted     `bill`: a holder pays while the card is unhealthy; `credit`: not
    idle        who pays for idle cards at a month's close: `none` of the cost centers that held there, all of them
                `even`ly, or by their `list` amounts
    approver    of a month: `any` person, or one `other` than who prepared it
    """

    version: int = 1
    from_ms: int = 0
    sharing: str = "configured"
    mig_weight: Fraction = Fraction(1)
    basis: str = "allocation"
    plans_from: str = "annotations"
    faulted: str = "bill"
    idle: str = "none"
    approver: str = "any"
    timezone: str = "UTC"
    currency: str = "USD"


class PolicyBook:
    """All versions of the policy, in order of validity."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        assert policies, "a ledger has at least the policy it began with"
        self._policies = sorted(policies, key=lambda policy: (policy.from_ms, policy.version))

    def at(self, at_ms: int, cluster: str = "", pool: str = "") -> Policy:
        """The policy that holds at an instant, in a node pool of a cluster; before the first version, the first."""
        held = self._policies[0]
        for policy in self._policies:
            if policy.from_ms <= at_ms:
                held = policy
        return held

    @property
    def first(self) -> Policy:
        return min(self._policies, key=lambda policy: policy.version)

    @property
    def latest(self) -> Policy:
        return max(self._policies, key=lambda policy: policy.version)
