"""Keep owners and quotas as the cluster has them: ask, take in what changed, wait, ask again.

A source that fails leaves the last answer in place, old rather than empty; its age is a metric.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from chargeback.clock import Clock
from chargeback.cluster.api import ApiError, ClusterApi
from chargeback.cluster.files import read_namespaces, read_quotas
from chargeback.cluster.objects import ObjectsError
from chargeback.core.owners import LabelKeys, Namespace
from chargeback.core.quotas import ResourceQuota, quota_uses
from chargeback.store.database import Database, DatabaseUnavailable
from chargeback.store.owners import note_namespaces

log = logging.getLogger(__name__)

EVERY_S = 30.0


class ClusterSource(Protocol):
    """Where namespaces and quotas come from; None: this source says nothing about them."""

    @property
    def name(self) -> str: ...
    async def namespaces(self) -> Sequence[Namespace] | None: ...
    async def quotas(self) -> Sequence[ResourceQuota] | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """YAML files, read again each time."""

    owners: Path | None
    quota_file: Path | None
    keys: LabelKeys
    name: str = "file"

    async def namespaces(self) -> Sequence[Namespace] | None:
        return None if self.owners is None else read_namespaces(self.owners, self.keys)

    async def quotas(self) -> Sequence[ResourceQuota] | None:
        return None if self.quota_file is None else read_quotas(self.quota_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSource:
    """The cluster's API."""

    api: ClusterApi
    keys: LabelKeys
    name: str = "api"

    async def namespaces(self) -> Sequence[Namespace] | None:
        return await self.api.namespaces(self.keys)

    async def quotas(self) -> Sequence[ResourceQuota] | None:
        return await self.api.quotas()


@dataclass(slots=True)
class ClusterTables:
    """The last answers, and when they came (unix ms; None: never)."""

    quotas: Sequence[ResourceQuota] = ()
    read_ms: dict[str, int] = field(default_factory=dict)


async def follow_once(
    source: ClusterSource, tables: ClusterTables, database: Database, cluster: str, clock: Clock
) -> None:
    """Take in what the source says now. Raises what the source raises; what it said before stays."""
    namespaces = await source.namespaces()
    now_ms = clock.now_ms()
    if namespaces is not None:
        added = await asyncio.to_thread(_note, database, cluster, namespaces, source.name, now_ms)
        tables.read_ms["namespaces"] = now_ms
        if added:
            log.info("owners changed", extra={"cluster": cluster, "source": source.name, "versions": added})
    quotas = await source.quotas()
    if quotas is not None:
        if quotas != tables.quotas:
            _, problems = quota_uses(quotas, "annotations")
            for problem in problems:
                log.warning("quota not read", extra={"problem": problem})
        tables.quotas = quotas
        tables.read_ms["resourcequotas"] = now_ms


async def keep_following(
    sources: Sequence[ClusterSource], tables: ClusterTables, database: Database, cluster: str, clock: Clock
) -> None:
    """Follow every source. Ends only by cancellation."""
    while True:
        for source in sources:
            try:
                await follow_once(source, tables, database, cluster, clock)
            except (ApiError, ObjectsError, OSError, DatabaseUnavailable) as error:
                log.warning("cluster not read", extra={"source": source.name, "error": str(error)})
        await clock.sleep(EVERY_S)


def _note(database: Database, cluster: str, namespaces: Sequence[Namespace], source: str, now_ms: int) -> int:
    with database.write() as connection:
        return len(note_namespaces(connection, cluster, namespaces, source, now_ms))
