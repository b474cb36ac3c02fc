"""Where the commands about quotas and plans get their report: from a live cluster or files, and a ledger, if any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import click

from chargeback.cli.options import Failure, take_database
from chargeback.cluster.api import ApiError, ClusterApi
from chargeback.cluster.files import read_namespaces
from chargeback.cluster.login import find_cluster
from chargeback.cluster.objects import ObjectsError
from chargeback.cluster.quota_facts import file_facts, read_facts
from chargeback.config import Settings
from chargeback.core.quota.idle_shares import IdleShare, recent_idle
from chargeback.core.quota.report import QuotaFacts, QuotaReport, quota_report
from chargeback.rater import provisional
from chargeback.store.database import DatabaseUnavailable
from chargeback.store.owners import owner_clusters

OUTPUT = click.option("--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
# The settings that say where to read.
SOURCES = ("kubeconfig", "quotas", "owners", "plans-from", "cluster", "database", "data")

# What each source tells: said where it is not to be had.
_TELLS = {
    "namespaces": "plans by annotations of namespaces",
    "pods": "own counts, holders, waiting pods",
    "nodes": "what nodes offer",
    "deviceclasses": "device classes that stand in for GPUs",
    "resourceclaims": "who claims devices",
    "events": "refused workloads",
}


def read_report(settings: Settings, namespace: str | None = None) -> QuotaReport:
    """From --quotas, else from the cluster; namespaces from --owners, as the server takes them. Raises Failure."""
    now_ms = time.time_ns() // 1_000_000
    try:
        if settings.quotas:
            files = [path for path in (settings.quotas, settings.owners) if path is not None]
            facts = file_facts(files, settings.label_keys)
            asked_ms = max((refusal.last_ms for refusal in facts.refusals or ()), default=0)  # as old as the file
        else:
            facts, asked_ms = asyncio.run(_ask(settings, namespace))
            if settings.owners:
                known = {table: why for table, why in facts.unknown.items() if table != "namespaces"}
                owned = read_namespaces(settings.owners, settings.label_keys)
                facts = replace(facts, namespaces=owned, unknown=known)
        idle = _idle(settings, now_ms)
    except (ApiError, ObjectsError, OSError, DatabaseUnavailable) as error:
        raise Failure(str(error)) from error
    report = quota_report(replace(facts, plans_from=settings.plans_from, idle=idle), asked_ms)
    return report if namespace is None else report.of(namespace)


def say_missing(report: QuotaReport, settings: Settings) -> bool:
    """On stderr: what people wrote and cannot mean, and what is not known, and why. Whether there is any of it.

    What a file leaves out was left out by whoever wrote it: said, but nothing is missing.
    """
    for problem in report.problems:
        click.echo(str(problem), err=True)
    tells: dict[str, list[str]] = {}
    for table, why in report.unknown.items():
        tells.setdefault(why, []).append(_TELLS[table])
    for why, what in tells.items():
        click.echo(f"not known: {', '.join(what)}: {why}", err=True)
    return bool(report.problems) or (bool(report.unknown) and settings.quotas is None)


async def _ask(settings: Settings, namespace: str | None) -> tuple[QuotaFacts, int]:
    configuration = await find_cluster(settings.kubeconfig)
    if configuration is None:
        raise Failure("no cluster here: want --quotas FILE or --kubeconfig; `chargeback plans used` asks the ledger")
    async with ClusterApi(configuration) as api:
        return await read_facts(api, settings.label_keys, namespace), api.now_ms()


def _idle(settings: Settings, now_ms: int) -> Mapping[str, IdleShare] | None:
    """None where no ledger is here, or it is of other clusters: then nothing is said of idle GPUs."""
    if not settings.database and not (settings.data / "ledger.db").exists():
        return None
    database = take_database({"database": settings.database, "data": str(settings.data)})
    try:
        with database.read() as connection:
            clusters = owner_clusters(connection)
            if clusters and settings.cluster not in clusters:
                known = ", ".join(clusters)
                click.echo(f"not known: what is idle: --cluster={settings.cluster}: the ledger has {known}", err=True)
                return None
            return recent_idle(provisional(connection, now_ms), settings.cluster, now_ms)
    finally:
        database.close()
