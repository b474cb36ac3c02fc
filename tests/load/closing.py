"""A replica for the benchmark: it says that it is there, waits for a line, and closes all that is due."""

from __future__ import annotations

import sys
import time

from chargeback.store.database import open_database
from chargeback.tasks.close_hours import close_due, spare_collector


def main(url: str, now_ms: str, grace_ms: str) -> None:
    """Prints how many node-hours it closed, and its CPU time for them in s."""
    spare_collector()
    database = open_database(url)
    print("ready", flush=True)
    sys.stdin.readline()
    began, count = time.process_time(), 0
    while closed := close_due(database, int(now_ms), int(grace_ms)):
        count += closed
    print(count, time.process_time() - began, flush=True)
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
