"""What the quota commands share: where their objects come from, and how answers are shown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from chargeback.cli.options import Failure
from chargeback.cluster.api import ApiError
from chargeback.cluster.login import find_cluster
from chargeback.cluster.objects import ObjectsError
from chargeback.cluster.quota_api import QuotaApi
from chargeback.cluster.quota_files import read_objects
from chargeback.config import Settings
from chargeback.core.owners.rules import NO_RULES
from chargeback.core.quota.specs import QuotaObjects
from chargeback.files.owner_rules import OwnerRulesError, read_owner_rules

OUTPUT = click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
ANSWERS = {True: "yes", False: "no", None: "cannot say"}


def cluster_objects(
    files: Sequence[Path], settings: Settings, *kinds: str, namespace: str | None = None
) -> QuotaObjects:
    """From the files, else from the cluster; owners after the rules, if there are some. Raises Failure.

    namespace: the cluster is asked for nothing beyond it, as far as kinds belong to namespaces
    """
    try:
        rules = read_owner_rules(settings.owner_rules) if settings.owner_rules else NO_RULES
        found = read_objects(files, settings.label_keys) if files else asyncio.run(_ask(settings, kinds, namespace))
    except (ApiError, ObjectsError, OwnerRulesError, OSError) as error:
        raise Failure(str(error)) from error
    owned = None if found.namespaces is None else tuple(map(rules.apply, found.namespaces))
    return replace(found, namespaces=owned)


async def _ask(settings: Settings, kinds: tuple[str, ...], namespace: str | None) -> QuotaObjects:
    configuration = await find_cluster(settings.kubeconfig)
    if configuration is None:
        raise Failure("no cluster here: name a file, or --kubeconfig")
    async with QuotaApi(configuration) as api:
        return await api.objects(settings.label_keys, *kinds, namespace=namespace)


def say_unknown(objects: QuotaObjects) -> None:
    """On stderr, what could not be read: it is not known, and not judged."""
    for kind, problem in objects.unknown.items():
        click.echo(f"not known: {kind}: {problem}", err=True)
