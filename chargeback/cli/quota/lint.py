"""`chargeback quota lint`: what a cluster really does with its quotas, and corrected manifests."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import yaml

from chargeback.cli.options import EXIT_INCOMPLETE, settings_options, take_settings
from chargeback.cli.quota.objects import OUTPUT, cluster_objects, say_unknown
from chargeback.cluster.quota_objects import to_manifest
from chargeback.core.quota.fix import Mended, mend
from chargeback.core.quota.lint import SEVERITIES, Finding, lint

# All that the rules look at: no more than the rights that are shipped for the aggregator.
LINTED = ("ResourceQuota", "LimitRange", "PriorityClass", "Namespace", "Node", "DeviceClass")


@click.command("lint")
@click.argument("files", nargs=-1, type=click.Path(exists=True, allow_dash=True, path_type=Path))
@settings_options("kubeconfig", "plans-from", "owner-rules", "label-cost-center", "label-team", "label-tier")
@click.option("--fix", is_flag=True, help="print corrected manifests on stdout, findings on stderr; applies nothing")
@OUTPUT
def lint_quotas(files: tuple[Path, ...], fix: bool, output: str, **options: Any) -> None:
    """Say what the cluster really does with its quotas, LimitRanges and PriorityClasses.

    FILES are YAML as kubectl prints or applies it, folders of it, or - for standard input; without them, a live
    cluster is read. Nothing is ever changed. What is not there to see (nodes, classes) is not judged; of a cluster,
    stderr names what the account may not list. Pods and workloads are looked at in files only.

    Exit 0: no errors; 1: errors.

    \b
    Example: chargeback quota lint deploy/examples/reference/as-written
    Example: chargeback quota lint --fix quotas.yaml | kubectl diff -f -
    """
    if files and options.get("kubeconfig"):
        raise click.UsageError("either FILES or --kubeconfig: not both")
    settings = take_settings(options)
    objects = cluster_objects(files, settings, *LINTED)
    say_unknown(objects)
    findings = lint(objects, settings.plans_from)
    mended = mend(objects) if fix else []
    if output == "json":
        found: dict[str, Any] = {"findings": [asdict(finding) for finding in findings], "unknown": objects.unknown}
        if fix:
            found["manifests"] = [to_manifest(each.object) for each in mended]
        click.echo(json.dumps(found, indent=2))
    else:
        _print_findings(findings, to_stderr=fix)
        click.echo(_manifests(mended), nl=False)
    if any(finding.severity == "error" for finding in findings):
        sys.exit(EXIT_INCOMPLETE)


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
