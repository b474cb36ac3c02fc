"""`chargeback quota`: what quotas allow and use, what a cluster really does with them, and whether GPUs would fit."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import yaml
from rich.markup import escape
from rich.table import Table

from chargeback.cli.console import console
from chargeback.cli.options import EXIT_INCOMPLETE, Failure, settings_options, take_settings
from chargeback.cluster.api import ApiError, find_cluster
from chargeback.cluster.objects import ObjectsError
from chargeback.cluster.quota_api import QuotaApi
from chargeback.cluster.quota_files import read_objects
from chargeback.cluster.quota_objects import to_manifest
from chargeback.core.owners import LabelKeys
from chargeback.core.quota_fit import Ask, FitLine, fit, verdict
from chargeback.core.quota_fix import Mended, mend
from chargeback.core.quota_lint import SEVERITIES, Finding, lint
from chargeback.core.quota_specs import QuotaObjects
from chargeback.core.quotas import QuotaUse, quota_uses

OUTPUT = click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
# To list what bears on a namespace; nodes and others need more rights than many people have.
OF_NAMESPACES = ("ResourceQuota", "LimitRange", "PriorityClass", "Namespace")
ANSWERS = {True: "yes", False: "no", None: "cannot say"}


@click.group()
def quota() -> None:
    """Show GPU quotas, check them, ask whether GPUs would fit."""


@quota.command("lint")
@click.argument("files", nargs=-1, type=click.Path(exists=True, allow_dash=True, path_type=Path))
@settings_options("kubeconfig", "plans-from")
@click.option("--fix", is_flag=True, help="print corrected manifests on stdout, findings on stderr; applies nothing")
@OUTPUT
def lint_quotas(files: tuple[Path, ...], fix: bool, output: str, **options: Any) -> None:
    """Say what the cluster really does with its quotas, LimitRanges and PriorityClasses.

    FILES are YAML as kubectl prints or applies it, folders of it, or - for standard input; without them, a live
    cluster is read. Nothing is ever changed. What the files say nothing of (nodes, classes) is not judged.

    Exit 0: no errors; 1: errors.

    \b
    Example: chargeback quota lint deploy/examples/reference/as-written
    Example: chargeback quota lint --fix quotas.yaml | kubectl diff -f -
    """
    if files and options.get("kubeconfig"):
        raise click.UsageError("either FILES or --kubeconfig: not both")
    settings = take_settings(options)
    objects = _objects(files, settings.kubeconfig)
    findings = lint(objects, settings.plans_from)
    mended = mend(objects) if fix else []
    if output == "json":
        found: dict[str, Any] = {"findings": [asdict(finding) for finding in findings]}
        if fix:
            found["manifests"] = [to_manifest(each.object) for each in mended]
        click.echo(json.dumps(found, indent=2))
    else:
        _print_findings(findings, to_stderr=fix)
        click.echo(_manifests(mended), nl=False)
    if any(finding.severity == "error" for finding in findings):
        sys.exit(EXIT_INCOMPLETE)


@quota.command("show")
@settings_options("kubeconfig", "quotas", "plans-from")
@OUTPUT
def show_quotas(output: str, **options: Any) -> None:
    """Show each GPU resource of each quota: hard and used, guarantee and cap, and whether Kubernetes enforces it.

    Exit 0: all shown; 1: some numbers cannot be read (named on stderr).

    \b
    Example: chargeback quota show --quotas quotas.yaml
    """
    settings = take_settings(options)
    objects = _objects([settings.quotas] if settings.quotas else [], settings.kubeconfig, "ResourceQuota")
    uses, problems = quota_uses([each.as_enforced() for each in objects.quotas], settings.plans_from)
    if output == "json":
        click.echo(json.dumps([_plain(use) for use in uses], indent=2))
    else:
        table = Table("namespace", "quota", "resource", "hard", "used", "guaranteed", "cap", "enforced")
        for use in uses:
            *cells, enforced = _plain(use).values()
            table.add_row(*(escape(cell or "") for cell in cells), ANSWERS[enforced])
        console().print(table)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(EXIT_INCOMPLETE)


@quota.command("fit")
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
    objects = _objects([settings.quotas] if settings.quotas else [], settings.kubeconfig, *OF_NAMESPACES)
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


def _objects(files: Sequence[Path], kubeconfig: Path | None, *kinds: str) -> QuotaObjects:
    """From the files, else from the cluster. Raises Failure."""
    try:
        return read_objects(files, LabelKeys()) if files else asyncio.run(_ask(kubeconfig, kinds))
    except (ApiError, ObjectsError, OSError) as error:
        raise Failure(str(error)) from error


async def _ask(kubeconfig: Path | None, kinds: tuple[str, ...]) -> QuotaObjects:
    configuration = await find_cluster(kubeconfig)
    if configuration is None:
        raise Failure("no cluster here: name a file, or --kubeconfig")
    async with QuotaApi(configuration) as api:
        return await api.objects(LabelKeys(), *kinds)


def _namespaces(objects: QuotaObjects) -> set[str]:
    named = {each.name for each in objects.namespaces or ()}
    named |= {each.namespace for each in objects.quotas}
    return named | {each.namespace for each in objects.limit_ranges}


def _print_findings(findings: list[Finding], *, to_stderr: bool) -> None:
    for finding in findings:
        click.echo(f"{finding.severity}: {finding.object}: {finding.field} ({finding.rule})", err=to_stderr)
        click.echo(f"  really: {finding.what}", err=to_stderr)
        click.echo(f"  mend:   {finding.mend}", err=to_stderr)
    count = Counter(finding.severity for finding in findings)
    click.echo(", ".join(f"{severity}: {count[severity]}" for severity in SEVERITIES), err=to_stderr)


def _manifests(mended: list[Mended]) -> str:
    """YAML documents, each under a comment that says what was done."""
    parts = []
    for each in mended:
        comments = "".join(f"# {line}\n" for line in each.done)
        parts.append(f"---\n{comments}{yaml.safe_dump(to_manifest(each.object), sort_keys=False)}")
    return "".join(parts)


def _print_fit(ask: Ask, lines: list[FitLine], fits: bool | None) -> None:
    table = Table("object", "field", "what", "fits")
    for line in lines:
        table.add_row(escape(line.object), escape(line.field), escape(line.what), ANSWERS[line.fits])
    out = console()
    out.print(table)
    asked = f"{ask.gpus} {ask.resource}" if ask.pods == 1 else f"{ask.pods} pods of {ask.gpus} {ask.resource}"
    out.print(f"estimate: {escape(asked)} in {escape(ask.namespace)}: {ANSWERS[fits]}", highlight=False)


def _plain(use: QuotaUse) -> dict[str, Any]:
    """Numbers as text, for they may be fractions; in the order of the table's columns."""
    values = asdict(use)
    names = ("namespace", "quota", "resource", "hard", "used", "guaranteed", "cap", "enforced")
    return {name: _text(values[name]) for name in names}


def _text(value: Any) -> Any:
    return format(value.normalize(), "f") if isinstance(value, Decimal) else value
