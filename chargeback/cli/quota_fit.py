"""`chargeback quota fit`: whether GPUs would fit into a namespace."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from chargeback.cli.console import console
from chargeback.cli.options import EXIT_INCOMPLETE, Failure, settings_options, take_settings
from chargeback.cli.quota_objects import ANSWERS, OUTPUT, cluster_objects
from chargeback.core.quota_fit import Ask, FitLine, fit, verdict
from chargeback.core.quota_specs import QuotaObjects

# To list what bears on a namespace; nodes and others need more rights than many people have.
OF_NAMESPACES = ("ResourceQuota", "LimitRange", "PriorityClass", "Namespace")


@click.command("fit")
@click.argument("namespace")
@click.option("--gpus", type=click.IntRange(min=1), required=True, help="devices in each pod's one container")
@click.option("--pods", type=click.IntRange(min=1), default=1, show_default=True, help="how many such pods")
@click.option("--resource", default="nvidia.com/gpu", show_default=True, help="as pods write it")
@click.option("--priority-class", help="of the pods; default: none")
@settings_options("kubeconfig", "quotas")
@OUTPUT
def fit_gpus(
    namespace: str, gpus: int, pods: int, resource: str, priority_class: str | None, output: str, **options: Any
) -> None:
    """Estimate whether GPUs would fit into NAMESPACE now, by its quotas and LimitRanges, line by line.

    An estimate: webhooks, pods that come meanwhile, and whether a node has room are not known here. --quotas may
    name a file that holds LimitRanges and PriorityClasses as well.

    Exit 0: they fit; 1: they do not, or it cannot be said.

    \b
    Example: chargeback quota fit ml-production --gpus 4 --priority-class ml-critical --quotas all.yaml
    """
    settings = take_settings(options)
    objects = cluster_objects([settings.quotas] if settings.quotas else [], settings.kubeconfig, *OF_NAMESPACES)
    if namespace not in _namespaces(objects):
        raise Failure(f"{namespace}: no such namespace, and nothing that belongs to it")
    ask = Ask(namespace=namespace, gpus=gpus, pods=pods, resource=resource, priority_class=priority_class)
    lines = fit(objects, ask)
    fits = verdict(lines)
    if output == "json":
        found = {"estimate": True, "ask": asdict(ask), "fits": fits, "lines": [asdict(line) for line in lines]}
        click.echo(json.dumps(found, indent=2))
    else:
        _print_fit(ask, lines, fits)
    if not fits:
        sys.exit(EXIT_INCOMPLETE)


def _namespaces(objects: QuotaObjects) -> set[str]:
    named = {each.name for each in objects.namespaces or ()}
    named |= {each.namespace for each in objects.quotas}
    return named | {each.namespace for each in objects.limit_ranges}


def _print_fit(ask: Ask, lines: list[FitLine], fits: bool | None) -> None:
    table = Table("object", "field", "what", "fits")
    for line in lines:
        table.add_row(escape(line.object), escape(line.field), escape(line.what), ANSWERS[line.fits])
    out = console()
    out.print(table)
    asked = f"{ask.gpus} {ask.resource}" if ask.pods == 1 else f"{ask.pods} pods of {ask.gpus} {ask.resource}"
    out.print(f"estimate: {escape(asked)} in {escape(ask.namespace)}: {ANSWERS[fits]}", highlight=False)
