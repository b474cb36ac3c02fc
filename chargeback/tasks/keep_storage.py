"""Keep room for what comes, and let go of what is old: partitions made ahead, months kept for their time."""

from __future__ import annotations

import asyncio
import logging

from chargeback.clock import Clock
from chargeback.store.database import Database, DatabaseUnavailable
from chargeback.store.partitions import make_ahead
from chargeback.store.retention import Keep, Waiting, let_go

log = logging.getLogger(__name__)

EVERY_S = 3600.0
# After a database that was away.
AGAIN_S = 60.0


def tend(database: Database, keep: Keep, now_ms: int) -> list[Waiting]:
    """Make partitions ahead and let go of old months; those that wait for being closed."""
    for name in make_ahead(database, now_ms):
        log.info("partition made", extra={"table": name})
    gone, waiting = let_go(database, keep, now_ms)
    for each in gone:
        todo = f"archive or drop the table {each.now}" if each.now else "nothing: its rows were deleted"
        log.info("month let go", extra={"table": each.table, "month": each.month, "todo": todo})
    return waiting


async def keep_tending(database: Database, keep: Keep, clock: Clock) -> None:
    """Ends only by cancellation. A month that waits for being closed is named once."""
    named: set[Waiting] = set()
    while True:
        pause_s = EVERY_S
        try:
            waiting = await asyncio.to_thread(tend, database, keep, clock.now_ms())
            for each in waiting:
                if each not in named:
                    todo = f"chargeback close {each.month}"
                    log.warning("month kept: it is not closed", extra={"month": each.month, "todo": todo})
            named = set(waiting)
        except DatabaseUnavailable as error:
            pause_s = AGAIN_S
            log.warning("storage not tended", extra={"error": str(error), "todo": "tried again shortly"})
        await clock.sleep(pause_s)
