"""`chargeback quota fit`: whether GPUs, or a pod of a manifest, would fit into a namespace."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chargeback.answers.fit import fit_json
from chargeback.cli.console import cell, console, table, text_of
from chargeback.cli.options import EXIT_INCOMPLETE, Failure, settings_options, take_settings
from chargeback.cli.quota.objects import ANSWERS, OUTPUT, cluster_objects, say_unknown
from chargeback.cluster.api import ApiError, ClusterApi
from chargeback.cluster.dry_run import ServerAnswer, try_pod
from chargeback.cluster.login import find_cluster
from chargeback.cluster.objects import ObjectsError
from chargeback.cluster.pod_manifest import gpu_pod, to_pod_manifest
from chargeback.cluster.quota_files import read_workload
from chargeback.core.quota.fit import fit, verdict
from chargeback.core.quota.fit_ask import Ask, FitLine, ask_for_gpus, show
from chargeback.core.quota.specs import GPU, is_gpu

# What bears on a namespace; nodes and others need more rights than many people have.
WANTED = ("ResourceQuota", "LimitRange", "PriorityClass", "Namespace")


class Count(click.IntRange):
    """A whole number from 1, and an error that says so."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r}: want a whole number from 1", param, ctx)


COUNT = Count(min=1)


@click.command("fit")
@click.argument("namespace")
@click.option("--gpus", type=COUNT, help="devices in each pod's one container")
@click.option(
    "--pod",
    "manifest",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="a Pod, or a Deployment, Job, StatefulSet … with its template; - for standard input",
)
@click.option("--pods", type=COUNT, help="how many such pods; default: as the manifest says, else 1")
@click.option("--resource", help="as pods write it; with --gpus; default: nvidia.com/gpu")
@click.option("--priority-class", help="of the pods; with --gpus; default: none")
@click.option(
    "--server", is_flag=True, help="ask the API server as well, by a dry run; needs the right to create pods"
)
@settings_options("kubeconfig", "quotas")
@OUTPUT
def fit_gpus(
    namespace: str,
    gpus: int | None,
    manifest: Path | None,
    pods: int | None,
    resource: str | None,
    priority_class: str | None,
    server: bool,
    output: str,
    **options: Any,
) -> None:
    """Estimate whether GPUs, or pods of a manifest, would fit into NAMESPACE now, line by line.

    By its quotas and LimitRanges. An estimate: webhooks, pods that come meanwhile, and whether a node has room are
    not known here. --quotas may name a file that holds LimitRanges and classes as well. --server asks the API server
    for one pod: it runs every admission check and stores nothing; its answer is shown word for word.

    Exit 0: they fit, by the server if it was asked, else by the estimate; 1: they do not, or it cannot be said.

    \b
    Example: chargeback quota fit ml-production --gpus 4 --priority-class ml-critical --quotas all.yaml
    Example: chargeback quota fit ml-production --pod train.yaml --server
    """
    if (gpus is None) == (manifest is None):
        raise click.UsageError("either --gpus or --pod")
    if manifest is not None and (resource or priority_class):
        raise click.UsageError("--resource and --priority-class go with --gpus; --pod says its own")
    settings = take_settings(options)
    if manifest is not None:
        ask, pod = _of_manifest(namespace, manifest, pods)
    else:
        resource = resource or GPU
        if not is_gpu(resource):
            raise Failure(f"--resource: {resource!r}: want a GPU resource as pods write it, such as {GPU}")
        ask = ask_for_gpus(namespace, gpus or 0, resource=resource, pods=pods or 1, priority_class=priority_class)
        pod = gpu_pod(gpus or 0, resource, priority_class)
    wanted = (*WANTED, *(["RuntimeClass"] if ask.pod.runtime_class else []))
    objects = cluster_objects([settings.quotas] if settings.quotas else [], settings, *wanted, namespace=namespace)
    say_unknown(objects)
    if namespace not in objects.namespace_names and "Namespace" not in objects.unknown:
        raise Failure(f"{namespace}: no such namespace, and nothing that belongs to it")
    lines = fit(objects, ask)
    answer = _ask_server(settings.kubeconfig, namespace, pod) if server else None
    _print(output, ask, lines, answer)
    fits = verdict(lines)
    if answer is not None:  # it knows better, of one pod
        fits = answer.admitted if ask.pods == 1 else fits and answer.admitted
    if not fits:
        sys.exit(EXIT_INCOMPLETE)


def _of_manifest(namespace: str, path: Path, pods: int | None) -> tuple[Ask, dict[str, Any]]:
    try:
        workload, manifest = read_workload(path)
    except (ObjectsError, OSError) as error:
        raise Failure(str(error)) from error
    if workload.namespace not in ("", namespace):
        raise Failure(f"{path}: metadata.namespace: {workload.namespace}: want {namespace}, or none")
    number = workload.pods if pods is None else pods
    if not number:
        raise Failure(f"{path}: {workload.label} makes no pod as it is: say how many with --pods")
    return Ask(namespace=namespace, pod=workload.pod, pods=number), to_pod_manifest(manifest)


def _ask_server(kubeconfig: Path | None, namespace: str, pod: dict[str, Any]) -> ServerAnswer:
    async def ask() -> ServerAnswer:
        configuration = await find_cluster(kubeconfig)
        if configuration is None:
            raise Failure("--server: no cluster here: want --kubeconfig")
        async with ClusterApi(configuration) as api:
            return await try_pod(api, namespace, pod)

    try:
        return asyncio.run(ask())
    except ApiError as error:
        raise Failure(f"--server: {error}") from error


def _print(output: str, ask: Ask, lines: list[FitLine], answer: ServerAnswer | None) -> None:
    if output == "json":
        found = fit_json(ask, lines) | ({"server": asdict(answer)} if answer else {})
        click.echo(json.dumps(found, indent=2))
        return
    shown = table("object", "=field", "what", "=fits")
    for line in lines:
        shown.add_row(*map(cell, (line.object, line.field, line.what, ANSWERS[line.fits])))
    click.echo(text_of(console(), shown))
    click.echo(f"estimate: {_asked(ask)} in {ask.namespace}: {ANSWERS[verdict(lines)]}")
    if answer is not None:
        click.echo(f"server: {ANSWERS[answer.admitted]}: {answer.status} {answer.message}")
        for remark in _remarks(ask, answer, verdict(lines)):
            click.echo(f"  {remark}")


def _remarks(ask: Ask, answer: ServerAnswer, estimated: bool | None) -> list[str]:
    remarks = []
    if answer.refused_by == "right":
        remarks.append(
            f"no quota refused: this account may not create pods in {ask.namespace}, and a dry run needs that right. "
            "The estimate stands alone"
        )
    elif answer.refused_by is not None:
        remarks.append(f"refused by: {answer.refused_by}")
    if ask.pods > 1:
        remarks.append(f"asked for one pod of {ask.pods}: a dry run consumes nothing, so several do not add up")
    elif answer.admitted is not None and estimated is not None and answer.admitted != estimated:
        remarks.append("the estimate differs: the server knows more (webhooks, its configuration, the last second)")
    return remarks


def _asked(ask: Ask) -> str:
    gpus = ", ".join(f"{show(number)} {name}" for name, number in ask.gpus.items()) or "no GPU"
    return gpus if ask.pods == 1 else f"{ask.pods} pods of {gpus}"
