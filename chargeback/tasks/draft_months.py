"""Prepare drafts by itself on a day of the month: the one before, if nothing blocks it. It approves nothing."""

from __future__ import annotations

import asyncio
import logging

from chargeback.clock import Clock
from chargeback.core.hours import local_day, month_after
from chargeback.core.months.closing import Limits, stopping
from chargeback.months.close import SERVER, MonthBlocked, MonthRefused, prepare
from chargeback.months.look import all_months, look
from chargeback.reports import NoLedger, policy_of
from chargeback.store.database import Database, DatabaseUnavailable
from chargeback.store.drafts import Draft
from chargeback.store.months import OPEN

log = logging.getLogger(__name__)

# A look reads all lines of a month: often enough to be there on the day, seldom enough not to be felt.
EVERY_S = 600.0


def month_to_draft(database: Database, now_ms: int, day: int) -> str | None:
    """The month before the running one, from that day on, while it is open and was never drafted; else None.

    What a person has discarded, a person drafts again.
    """
    today = local_day(now_ms, policy_of(database).timezone)
    before = month_after(today.isoformat()[:7], -1)
    states = {state.month: state for state, _ in all_months(database)}
    is_untouched = before in states and states[before].state == OPEN and states[before].draft == 0
    return before if today.day >= day and is_untouched else None


def draft_month(database: Database, now_ms: int, day: int, grace_ms: int, limits: Limits) -> Draft | None:
    """Draft the month whose day it is, if nothing blocks it. Raises MonthBlocked."""
    month = month_to_draft(database, now_ms, day)
    if month is None:
        return None
    found = look(database, month, now_ms, grace_ms, limits)
    if stopping(found.findings):
        raise MonthBlocked(month, found)
    return prepare(database, month, SERVER, now_ms, grace_ms, limits)


async def keep_drafting(database: Database, clock: Clock, day: int, grace_ms: int, limits: Limits) -> None:
    """Ends only by cancellation. What blocks a draft is said once, and again when it is something else."""
    said = ""
    while True:
        try:
            draft = await asyncio.to_thread(draft_month, database, clock.now_ms(), day, grace_ms, limits)
            if draft is not None:
                todo = f"chargeback close {draft.month} --approve"
                log.info("month drafted", extra={"month": draft.month, "draft": draft.draft, "todo": todo})
        except MonthBlocked as blocked:
            if str(blocked) != said:
                said = str(blocked)
                todo = f"chargeback close {blocked.look.state.month} --dry-run"
                names = [each.name for each in stopping(blocked.look.findings)]
                log.warning("month not drafted", extra={"blocked_by": names, "todo": todo})
        except MonthRefused as error:  # a person, or another replica, was faster
            log.info("month not drafted", extra={"error": str(error)})
        except (DatabaseUnavailable, NoLedger) as error:
            log.warning("month not drafted", extra={"error": str(error), "todo": "tried again shortly"})
        await clock.sleep(EVERY_S)
