"""`chargeback demo`: a simulated cluster, two months of it through the real agent and the real ingest, then live."""

from __future__ import annotations

import signal
import time
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from chargeback.budget_reports import budget_report
from chargeback.cli.console import console
from chargeback.cli.export import write_month
from chargeback.cli.options import Failure
from chargeback.cli.report import print_month
from chargeback.core.hours import HOUR_MS, format_hour, format_instant, local_day, month_after, month_span_ms
from chargeback.demo.observe import check_there, how_to_look, start_prometheus
from chargeback.demo.processes import DemoFailed, Processes, free_port, wait_ready, wait_until
from chargeback.demo.terms import give_credit, set_budgets, write_plans
from chargeback.reports import month_report
from chargeback.store.backlogs import node_hour_backlog, plan_hour_backlog
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.node_hours import count_rated, newest_hour
from chargeback.store.rollup import marked

CLUSTER = "demo"
NODES = ("node-h100", "node-a100", "node-l40s", "node-h200")
SERVE_PORT, AGENT_PORT = 10467, 10466
REPLAY_BEAT = "10m"
# How long after the agents start a card raises an XID: after their first look, which cannot tell new from old.
SOON_MS = 15_000


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-data"),
    show_default=True,
    help="where the demo keeps its ledger, files and logs",
)
@click.option("--once", is_flag=True, help="stop after the tables, for scripts")
@click.option("--observe", is_flag=True, help="start a Prometheus, too, that scrapes all and evaluates the alerts")
def demo(data: Path, once: bool, observe: bool) -> None:
    """Run a simulated GPU cluster and bill it: the two past months first, then live until Ctrl-C.

    \b
    Examples: chargeback demo --once --data /tmp/demo
              chargeback demo --observe
    """
    if once and observe:
        raise click.UsageError("--once stops where --observe would begin: give one of them")
    signal.signal(signal.SIGTERM, _as_interrupt)
    out = console()
    try:
        if observe:
            check_there()
        # A unix socket's path must be short, and the data folder's need not be.
        with TemporaryDirectory(prefix="gpu-chargeback-") as sockets, Processes(data / "logs") as processes:
            _run(data, once, observe, Path(sockets), processes, out)
    except DemoFailed as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        out.print("stopped; `chargeback demo` goes on from here")


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(data: Path, once: bool, observe: bool, sockets: Path, processes: Processes, out: Console) -> None:
    now_ms = time.time_ns() // 1_000_000
    this_month = local_day(now_ms, "UTC").isoformat()[:7]
    first_month = month_after(this_month, -2)
    url = _start_server(data, first_month, processes)
    database = open_database(sqlite_url(data / "ledger.db"))
    try:
        _replay(data, url, first_month, processes, database, now_ms, out)
        set_budgets(database, first_month, now_ms)
        give_credit(database, CLUSTER, month_after(this_month, -1), now_ms)
        _print_months(data, database, now_ms, out)
        if once:
            return
        agents = _start_agents(data, url, sockets, processes)
        out.print(f"page      {url}/")
        out.print(f"metrics   {url}/metrics")
        for node, agent in agents.items():
            out.print(f"agent     {agent}/metrics  ({node})", highlight=False)
        if observe:
            for line in how_to_look(start_prometheus(data, CLUSTER, url, agents.values(), processes)):
                out.print(line, highlight=False, soft_wrap=True)
        out.print("running; Ctrl-C stops everything")
        while True:
            processes.finished(())
            time.sleep(0.5)
    finally:
        database.close()


def _start_server(data: Path, first_month: str, processes: Processes) -> str:
    for name in ("namespaces", "quotas"):
        text = files("chargeback.demo").joinpath(f"{name}.yaml").read_text()
        (data / f"{name}.yaml").write_text(text)
    _write_nodes(data, time.time_ns() // 1_000_000)
    port = free_port(SERVE_PORT)
    processes.start(
        "chargeback-serve",
        "chargeback.cli.main",
        "serve",
        *("--data", str(data)),
        *("--listen", f"127.0.0.1:{port}"),
        *("--cluster", CLUSTER),
        *("--owners", str(data / "namespaces.yaml")),
        *("--quotas", str(data / "quotas.yaml")),
        *("--prices", "default"),
        *("--plans", str(write_plans(data, first_month))),
        *("--plans-from", "quota"),
        *("--grace", "0s"),
    )
    url = f"http://127.0.0.1:{port}"
    wait_ready(url, processes)
    return url


def _write_nodes(data: Path, soon_ms: int) -> None:
    """The nodes' scenarios; what happens soon in them happens at soon_ms, while agents run live."""
    for node in NODES:
        text = files("chargeback.demo").joinpath(f"{node}.yaml").read_text()
        (data / f"{node}.yaml").write_text(text.replace("SOON", format_instant(soon_ms)))


def _replay(
    data: Path, url: str, first_month: str, processes: Processes, database: Database, now_ms: int, out: Console
) -> None:
    """Send what is missing up to the running hour, through the real agent in simulated time."""
    this_hour = now_ms // HOUR_MS
    oldest = month_span_ms(first_month, "UTC")[0] // HOUR_MS
    with database.read() as connection:
        newest = {node: newest_hour(connection, CLUSTER, node) for node in NODES}
    starts = {node: oldest if hour is None else max(hour + 1, oldest) for node, hour in newest.items()}
    missing = {node: start for node, start in starts.items() if start < this_hour}
    for node, start in missing.items():
        span = f"{format_hour(start)}..{format_hour(this_hour)}"
        processes.start(
            f"replay-{node}", "exporter.cli", *_agent(data, url, node), "--replay", span, "--beat", REPLAY_BEAT
        )
    names = [f"replay-{node}" for node in missing]
    total = sum(this_hour - start for start in missing.values())
    if total:
        _show_progress(processes, names, database, total, this_hour, out)
    processes.forget(names)


def _show_progress(
    processes: Processes, names: list[str], database: Database, total: int, until_hour: int, out: Console
) -> None:
    def standing() -> tuple[int, bool]:
        now_ms = time.time_ns() // 1_000_000
        with database.read() as connection:
            due = (*node_hour_backlog(connection, now_ms), *plan_hour_backlog(connection, now_ms))
            waiting = sum(each.due for each in due) + marked(connection)
            return count_rated(connection, CLUSTER, until_hour), waiting == 0

    before, _ = standing()
    columns = (
        TextColumn("replaying {task.total:.0f} node-hours"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out) as progress:
        task = progress.add_task("", total=total)
        while True:
            sent = processes.finished([*names])
            rated, settled = standing()
            progress.update(task, completed=min(total, rated - before))
            if sent and settled:
                progress.update(task, completed=total)
                return
            time.sleep(0.3)


def _start_agents(data: Path, url: str, sockets: Path, processes: Processes) -> dict[str, str]:
    """Live agents, one a node, each with a kubelet of its own to ask; their URLs."""
    _write_nodes(data, time.time_ns() // 1_000_000 + SOON_MS)
    for node in NODES:
        arguments = ("--node", node, "--socket", str(sockets / node), str(data / f"{node}.yaml"))
        processes.start(f"kubelet-{node}", "exporter.simulated_kubelet", *arguments)
    agents: dict[str, str] = {}
    for node in NODES:
        wait_until(f"the kubelet of {node}", (sockets / node).exists, processes)
        port = free_port(AGENT_PORT + 10 * NODES.index(node))
        own = ("--spool", str(data / "spool" / node), "--kubelet-socket", str(sockets / node))
        processes.start(node, "exporter.cli", *_agent(data, url, node), *own, "--listen", f"127.0.0.1:{port}")
        agents[node] = f"http://127.0.0.1:{port}"
    for agent in agents.values():
        wait_ready(agent, processes)
    return agents


def _agent(data: Path, url: str, node: str) -> tuple[str, ...]:
    return ("--cluster", CLUSTER, "--node", node, "--simulate", str(data / f"{node}.yaml"), "--push", url)


def _print_months(data: Path, database: Database, now_ms: int, out: Console) -> None:
    this_month = local_day(now_ms, "UTC").isoformat()[:7]
    for month in (month_after(this_month, -1), this_month):
        print_month(out, month_report(database, month, now_ms), budget_report(database, month, now_ms))
        out.print()
    for month in (month_after(this_month, -2), month_after(this_month, -1), this_month):
        path = data / f"chargeback-{month}.csv"
        write_month(database, month, path)
        out.print(f"CSV       {path}", highlight=False, soft_wrap=True)
