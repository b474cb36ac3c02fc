"""Namespaces and quotas from YAML files in place of the API: read again and again, as files change.

A file that cannot be read any more leaves the last answer in place, old rather than empty; its age is a metric.
"""

from __future__ import annotations

import logging
from pathlib import Path

from chargeback.clock import Clock
from chargeback.cluster.files import read_namespaces, read_quotas
from chargeback.cluster.objects import ObjectsError
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.quota.uses import quota_uses
from chargeback.tasks.follow_cluster import ClusterTables

log = logging.getLogger(__name__)

EVERY_S = 30.0


def read_files(owners: Path | None, quotas: Path | None, keys: LabelKeys, tables: ClusterTables, now_ms: int) -> None:
    """Put what the files say into the tables. Raises ObjectsError, OSError."""
    if owners is not None:
        tables.namespaces.replace({each.name: each for each in read_namespaces(owners, keys)}, now_ms)
    if quotas is not None:
        specs = read_quotas(quotas)
        found = {f"{each.namespace}/{each.name}": each for each in specs}
        if found != tables.resourcequotas.items:
            _, problems = quota_uses(specs, None)
            for problem in problems:
                log.warning("quota not read", extra={"problem": str(problem)})
        tables.resourcequotas.replace(found, now_ms)


async def keep_reading(
    owners: Path | None, quotas: Path | None, keys: LabelKeys, tables: ClusterTables, clock: Clock
) -> None:
    """Read the files now and then. Ends only by cancellation."""
    while True:
        await clock.sleep(EVERY_S)
        try:
            read_files(owners, quotas, keys, tables, clock.now_ms())
        except (ObjectsError, OSError) as error:
            log.warning("cluster file not read", extra={"error": str(error)})
