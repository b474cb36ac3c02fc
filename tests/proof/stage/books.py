"""Prices and plans, as files that `chargeback` imports: what held before stays in them, with the time it held.

And the policy, which `chargeback policy set` dates.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from tests.proof.stage.aggregator import Aggregator
from tests.proof.stage.scenario import GPU, Plan, Policy, Price
from tests.proof.witness import testimony

HOUR_MS = 3_600_000
MICROS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedPlan:
    """until_ms None: it still holds."""

    namespace: str
    plan: Plan
    from_ms: int
    until_ms: int | None = None


class Books:
    """Prices and policy change on whole hours: what is said of one holds in all of it. Plans change in any."""

    def __init__(self, aggregator: Aggregator, folder: Path) -> None:
        self._aggregator, self._folder = aggregator, folder
        self._prices: dict[int, tuple[Price, ...]] = {}
        self._plans: list[DatedPlan] = []
        self._policy = Policy()  # as the ledger began
        self._lock = threading.Lock()

    def reprice(self, prices: Sequence[Price]) -> testimony.Prices:
        """From the running hour on; what it has billed so far is billed anew. Returns what is to be told."""
        with self._lock:
            at_ms = now_ms()
            if tuple(prices) != self._in_force():
                self._prices[at_ms // HOUR_MS if self._prices else 0] = tuple(prices)
                self._import("prices", {"currency": "USD", "prices": self._price_entries()}, "--force")
            return testimony.Prices(at_ms=at_ms, prices=tuple(map(_told, prices)))

    def set_policy(self, policy: Policy) -> testimony.Policy:
        """From the running hour on; what it has billed so far is billed anew. Returns what is to be told."""
        with self._lock:
            at_ms = now_ms()
            if policy != self._policy:
                since = _instant(at_ms // HOUR_MS * HOUR_MS)
                options = ("--from", since, "--sharing", policy.sharing)
                self._aggregator.command("policy", "set", *options, "--who", "proof", "--reason", "a scenario")
                self._policy = policy
            return testimony.Policy(at_ms=at_ms, sharing=policy.sharing)

    def plan(self, namespace: str, plan: Plan) -> testimony.Plan:
        """From this second on; guaranteed 0 ends what was. Returns what is to be told."""
        with self._lock:
            at_ms = now_ms() // 1000 * 1000
            for number, each in enumerate(self._plans):
                if each.until_ms is None and (each.namespace, each.plan.resource) == (namespace, plan.resource):
                    self._plans[number] = replace(each, until_ms=at_ms)
            if plan.guaranteed:
                self._plans.append(DatedPlan(namespace=namespace, plan=plan, from_ms=at_ms))
            self._import("plans", {"plans": [_plan_entry(each) for each in self._plans]})
            return testimony.Plan(
                at_ms=at_ms, namespace=namespace, guaranteed=plan.guaranteed, resource=plan.resource
            )

    def end_plans(self, namespaces: Sequence[str]) -> list[testimony.Plan]:
        """Of a scenario that is over. Returns what is to be told."""
        held = [each for each in self._plans if each.until_ms is None and each.namespace in namespaces]
        return [self.plan(each.namespace, replace(each.plan, guaranteed=0)) for each in held]

    def _in_force(self) -> tuple[Price, ...]:
        return self._prices[max(self._prices)] if self._prices else ()

    def _price_entries(self) -> list[dict[str, Any]]:
        entries = []
        hours = sorted(self._prices)
        for hour, until in zip(hours, [*hours[1:], None], strict=True):
            when = {} if hour == 0 else {"from": _instant(hour * HOUR_MS)}
            when |= {} if until is None else {"until": _instant(until * HOUR_MS)}
            entries += [_price_entry(price) | when for price in self._prices[hour]]
        return entries

    def _import(self, what: str, document: dict[str, Any], *flags: str) -> None:
        file = self._folder / f"{what}.yaml"
        file.write_text(yaml.safe_dump(document))
        self._aggregator.command(what, "import", str(file), *flags, "--who", "proof", "--reason", "a scenario")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _price_entry(price: Price) -> dict[str, Any]:
    entry = {"model": price.model, "price": price.price, "unit": "instance-hour" if price.profile else "gpu-hour"}
    optional = {"profile": price.profile, "tier": price.tier, "term": price.term}
    return entry | {key: value for key, value in optional.items() if value is not None}


def _plan_entry(each: DatedPlan) -> dict[str, Any]:
    entry: dict[str, Any] = {"namespace": each.namespace, "guaranteed": each.plan.guaranteed}
    entry["from"] = _instant(each.from_ms)
    optional = {
        "resource": None if each.plan.resource == GPU else each.plan.resource,
        "cap": each.plan.cap,
        "price_key": each.plan.price_key,
        "until": None if each.until_ms is None else _instant(each.until_ms),
    }
    return entry | {key: value for key, value in optional.items() if value is not None}


def _told(price: Price) -> testimony.Price:
    micros = Decimal(price.price) * MICROS
    assert micros == int(micros), f"{price}: more than six decimals"
    return testimony.Price(
        model=price.model, micros=int(micros), profile=price.profile, tier=price.tier, term=price.term
    )


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
