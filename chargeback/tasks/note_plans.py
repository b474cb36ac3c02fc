"""Plans as annotations and quotas say them now, taken into the ledger's history; and those of a file."""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chargeback.clock import Clock
from chargeback.core.owners.owners import Namespace
from chargeback.core.plans.book import PlanVersion
from chargeback.core.plans.history import seen_plans
from chargeback.core.plans.sources import plans
from chargeback.core.quota.specs import QuotaSpec
from chargeback.files.plans import PlanFileError, read_plan_file
from chargeback.store.database import Connection, Database, DatabaseUnavailable
from chargeback.store.plans import PlansConflict, import_plans, note_plans
from chargeback.store.policies import policy_book

log = logging.getLogger(__name__)

EVERY_S = 30.0
# Who imports what the setting names.
SERVE = "serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLook:
    """Namespaces and quotas at one instant. all_there: both are known; else what is not seen may be there."""

    namespaces: Sequence[Namespace]
    quotas: Sequence[QuotaSpec]
    at_ms: int
    all_there: bool


@dataclass(slots=True)
class PlanNoter:
    """Notes what is new. What was noted last is kept, so that seeing the same again asks little of the ledger."""

    cluster: str
    _noted: tuple[dict[str, PlanVersion], bool] | None = None

    def note(self, database: Database, look: PlanLook) -> None:
        """In a transaction of its own: whoever imports plans takes its locks in the same order."""
        with database.write() as connection:
            policies = policy_book(connection)
            if policies is None:
                return
            plans_from = policies.at(look.at_ms, self.cluster).plans_from
            seen = seen_plans(*plans(look.quotas, look.namespaces, plans_from))
            if self._noted == (seen, look.all_there):
                return
            changed = note_plans(connection, self.cluster, seen, look.at_ms, all_there=look.all_there)
        if changed is None:
            return  # the next look is a later one
        self._noted = (seen, look.all_there)
        if changed:
            log.info("plans changed", extra={"cluster": self.cluster, "namespaces": changed})


def import_plan_file(connection: Connection, file: Path, cluster: str, now_ms: int) -> int:
    """Have the plans of a file hold; how many versions are new. Raises PlanFileError, PlansConflict, OSError."""
    policies = policy_book(connection)
    assert policies is not None, "the ledger has no policy: `serve` begins it"
    timezone = policies.first.timezone
    found = read_plan_file(file, cluster, timezone)
    try:
        return len(import_plans(connection, found, [cluster], timezone, now_ms, who=SERVE))
    except PlansConflict as error:
        todo = f"to take them all the same: chargeback plans import {shlex.quote(str(file))} --force --reason WHY"
        raise PlansConflict("\n".join([*(f"{file}: {line}" for line in str(error).splitlines()), todo])) from error


async def keep_importing(database: Database, file: Path, cluster: str, clock: Clock) -> None:
    """Import the file when it changes; what cannot be taken leaves the last plans in force. Ends by cancellation."""
    stamp = _stamp(file)
    while True:
        await clock.sleep(EVERY_S)
        if (now := _stamp(file)) == stamp:
            continue
        try:
            changed = await asyncio.to_thread(_import, database, file, cluster, clock.now_ms())
            log.info("plans imported", extra={"file": str(file), "versions": changed})
        except DatabaseUnavailable as error:
            log.warning("plans not imported", extra={"error": str(error), "todo": "tried again shortly"})
            continue
        except (PlanFileError, PlansConflict, OSError) as error:
            log.warning("plan file not taken", extra={"error": str(error)})
        stamp = now


def _import(database: Database, file: Path, cluster: str, now_ms: int) -> int:
    with database.write() as connection:
        return import_plan_file(connection, file, cluster, now_ms)


def _stamp(file: Path) -> int | None:
    """None: it is not there."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None
