"""Pods that a quota did not admit: which workload waits, which quota and which of its keys refuses it.

The words are the API server's (admission plugin ResourceQuota), as controllers repeat them in FailedCreate events.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from chargeback.core.quota.gpu_keys import gpu_keys

# A controller tries again ever more rarely, at last every 1,000 s: what is older than two tries has stopped waiting.
STANDS_MS = 2 * 1_000_000

# Names of quotas have no blank, comma or colon; quantities no comma.
_PAIRS = r"((?:[^\s,=]+=[^\s,]+)(?:,[^\s,=]+=[^\s,]+)*)"
_EXCEEDED = re.compile(rf"exceeded quota: ([^\s,:]+), requested: {_PAIRS}, used: {_PAIRS}, limited: {_PAIRS}")
_MISSING = re.compile(r"failed quota: ([^\s,:]+): must specify ([^\"]+)")
_MISSING_KEY = re.compile(r"([\w./-]+) for: ")
_UNKNOWN = re.compile(r"status unknown for quota: ([^\s,:]+), resources: ([^\s,]+(?:,[^\s,]+)*)")

EXCEEDED, MISSING, UNKNOWN_STATUS = "exceeded", "missing", "status-unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedKey:
    """One key of one quota that refuses. Quantities as the API server wrote them; None: it did not say.

    why  exceeded: too much is asked; missing: the pod does not say how much it wants, and must;
         status-unknown: the controller has not counted yet
    """

    quota: str
    key: str
    why: str = EXCEEDED
    requested: str | None = None
    used: str | None = None
    limited: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A workload whose pods were refused. Times: unix ms. kind, name: of the object that makes the pods.

    first_ms  when it began, as far as is known
    count     how often it was tried
    gpus      its pods ask for GPUs; None: a refusal by other keys does not say
    """

    namespace: str
    kind: str
    name: str
    keys: tuple[RefusedKey, ...]
    count: int
    first_ms: int
    last_ms: int
    gpus: bool | None = None

    @property
    def workload(self) -> str:
        return f"{self.kind} {self.name}"


def refusal_of(
    namespace: str, kind: str, name: str, message: str, count: int, last_ms: int, first_ms: int | None = None
) -> Refusal | None:
    """Read the message of an event or of a 403; None where no quota is to blame."""
    keys = tuple(dict.fromkeys(_keys(message)))
    if not keys:
        return None
    first_ms = last_ms if first_ms is None else min(first_ms, last_ms)
    return Refusal(
        namespace=namespace,
        kind=kind,
        name=name,
        keys=keys,
        count=count,
        first_ms=first_ms,
        last_ms=last_ms,
        gpus=any(gpu_keys([key.key]) for key in keys if key.why == EXCEEDED) or None,
    )


def standing(refusals: Iterable[Refusal], now_ms: int) -> list[Refusal]:
    """One for each workload that still waits, by name: all of its tries, and the keys of the last one."""
    latest: dict[tuple[str, str, str], Refusal] = {}
    for refusal in sorted(refusals, key=lambda each: (each.last_ms, each.first_ms)):
        key = (refusal.namespace, refusal.kind, refusal.name)
        if (before := latest.get(key)) is not None:
            refusal = replace(
                refusal, count=before.count + refusal.count, first_ms=min(before.first_ms, refusal.first_ms)
            )
        latest[key] = refusal
    return [latest[key] for key in sorted(latest) if latest[key].last_ms + STANDS_MS > now_ms]


def _keys(message: str) -> Iterator[RefusedKey]:
    for quota, requested, used, limited in _EXCEEDED.findall(message):
        asked, held, allowed = _pairs(requested), _pairs(used), _pairs(limited)
        for key in asked:
            yield RefusedKey(quota=quota, key=key, requested=asked[key], used=held.get(key), limited=allowed.get(key))
    for quota, missing in _MISSING.findall(message):
        for key in _MISSING_KEY.findall(missing):
            yield RefusedKey(quota=quota, key=key, why=MISSING)
    for quota, keys in _UNKNOWN.findall(message):
        for key in keys.split(","):
            yield RefusedKey(quota=quota, key=key, why=UNKNOWN_STATUS)


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split(","))
