"""Months in a state, for tests of what may happen then; how they come to it is another's matter."""

from __future__ import annotations

from chargeback.store.database import Database
from chargeback.store.months import CLOSED, MonthState, hold_ledger, hours_of, put_state


def put_month(database: Database, month: str, state: str = CLOSED) -> None:
    first_hour, last_hour = hours_of(month, "UTC")
    with database.write() as connection:
        hold_ledger(connection)
        put_state(
            connection,
            MonthState(month=month, state=state, draft=1, first_hour=first_hour, last_hour=last_hour, changed_ms=0),
        )
