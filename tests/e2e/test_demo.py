"""The demo as a newcomer runs it: two months through the real programs, live, scraped by a real Prometheus."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from dashboards.prometheus_rules import rule_files
from tests.e2e.demo_panels import check_choices, check_panels, check_same, check_variables
from tests.programs import chargeback, fetch, free_port, wait_for
from tests.prometheus_server import PrometheusServer, scrape_settings, start_prometheus

ROOT = Path(__file__).resolve().parents[2]
# Far more than they take, for a demo that hangs: the first replays up to 62 days.
ONCE_WITHIN_S, LIVE_WITHIN_S = 1200.0, 300.0
NODES = 4


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """`chargeback demo --once`: the folder it leaves, and what it printed."""
    data = tmp_path_factory.mktemp("demo")
    return data, chargeback("demo", "--once", "--data", str(data), timeout_s=ONCE_WITHIN_S).stdout.decode()


def processes_of(data: Path) -> list[str]:
    """Command lines of processes that have anything to do with the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(data) in line and "pytest" not in line:
            found.append(line)
    return found


def read_month(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_once_prints_the_months_and_leaves_their_csv(once: tuple[Path, str]) -> None:
    """Tables per cost center on the terminal, a CSV for each month that was replayed, no process left behind."""
    data, printed = once
    for account in ("prod-001", "rd-001", "ds-001", "unowned", "platform:idle", "all of it"):
        assert account in printed
    paths = [Path(path) for path in re.findall(r"^CSV +(\S+)$", printed, re.MULTILINE)]
    assert [path.parent for path in paths] == [data] * 3
    assert all(len(read_month(path)) > 10 for path in paths[:2])
    assert processes_of(data) == []


def test_the_demo_balances(once: tuple[Path, str]) -> None:
    """A closed month: 26 cards, every hour, no gap; Σ list = Σ amount = the price of all cards."""
    data, _ = once
    path = sorted(data.glob("chargeback-*.csv"))[1]
    rows = read_month(path)
    year, month = (int(part) for part in path.stem.removeprefix("chargeback-").split("-"))
    days = {1: 31, 2: 29 if year % 4 == 0 else 28, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, 31)
    hours = days * 24
    # 8 × 3.20 + 8 × 2.10 + 8 × 1.20 + 2 × 3.90 an hour.
    price = hours * Decimal("59.8")
    assert sum(Decimal(row["list_amount"]) for row in rows) == price
    assert sum(Decimal(row["amount"]) for row in rows) == price
    assert abs(sum(Decimal(row["gpu_hours"]) for row in rows) - 26 * hours) <= Decimal("0.0000005") * len(rows)
    assert not [row for row in rows if row["cost_center_id"] in ("platform:gap", "platform:difference")]
    assert {"reserved", "burst", "unused", "credit"} <= {row["kind"] for row in rows}
    assert {row["cost_center_id"] for row in rows if row["namespace"] == "ml-production"} == {
        "prod-001",
        "platform:discount",
        "platform:idle",  # which backs what it is guaranteed and does not hold
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    process: subprocess.Popen[bytes]
    data: Path
    server: str
    agents: list[str]


@pytest.fixture(scope="module")
def live(once: tuple[Path, str]) -> Iterator[Live]:
    """The demo started again on the same folder, running live."""
    data, _ = once
    printed = data / "printed"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "chargeback.cli.main", "demo", "--observe", "--data", str(data)],
            stdout=output,
            stderr=output,
        )
    try:

        def is_live() -> bool:
            assert process.poll() is None, printed.read_text()
            return "Ctrl-C stops everything" in printed.read_text()

        wait_for("the demo runs live", is_live, LIVE_WITHIN_S)
        urls = re.findall(r"^(?:metrics|agent) +(http://\S+)/metrics", printed.read_text(), re.MULTILINE)
        yield Live(
            process=process,
            data=data,
            server=urls[0],
            agents=urls[1:],
        )
        process.send_signal(signal.SIGINT)
        process.wait(LIVE_WITHIN_S)
        assert process.returncode == 0, printed.read_text()
        assert processes_of(data) == []
    finally:
        process.kill()
        process.wait()


def test_observe_scrapes_all_of_it_and_evaluates_the_rules(live: Live) -> None:
    """A Prometheus beside it, whose address is printed; that it ends with the demo, the fixture sees."""
    printed = (live.data / "printed").read_text()
    (url,) = re.findall(r"^rules +(http://\S+)/rules", printed, re.MULTILINE)
    assert f"Prometheus, with the URL {url};" in printed
    server = PrometheusServer(url=url)
    server.wait_for("count(up == 1) == 5")
    assert server.wait_for('gpu_held_info{cluster="demo"}')
    names = {name for path in rule_files() for name in re.findall(r"- (?:alert|record): (\S+)", path.read_text())}
    assert {rule["name"] for rule in server.rules()} == names


def test_a_second_run_starts_from_what_is_there(once: tuple[Path, str], live: Live) -> None:
    """Two months are replayed once; then an hour or two a node, where one has ended since."""
    assert len(live.agents) == NODES
    assert replayed(once[1]) > NODES * 24 * 58
    assert replayed((live.data / "printed").read_text()) <= NODES * 2


def replayed(printed: str) -> int:
    """How many node-hours a run said that it replays."""
    return sum(map(int, re.findall(r"^replaying (\d+) node-hours", printed, re.MULTILINE)))


def test_the_running_hour_is_on_the_page_at_once(live: Live) -> None:
    """Nobody waits an hour to see that it works: provisional, and never in the CSV."""
    costs = f"{live.server}/v1/costs?from=2020-01-01&until=2100-01-01&group_by=account"

    def provisional() -> bool:
        found = json.loads(fetch(costs)[1])["costs"]
        return any(cost["provisional"] and cost["account"] == "prod-001" for cost in found)

    wait_for("provisional costs", provisional)
    assert b"provisional" in fetch(f"{live.server}/")[1]
    month = sorted(live.data.glob("chargeback-*.csv"))[1]
    name = month.stem.removeprefix("chargeback-")
    assert fetch(f"{live.server}/v1/statements/{name}.csv") == (200, month.read_bytes())


Scraped = tuple[PrometheusServer, PrometheusServer]


@pytest.fixture(scope="module")
def scraped(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Two servers that scrape the demo: with `honor_labels`, and relabelling as docs/prometheus.md shows it."""
    targets = {
        "chargeback": [live.server.removeprefix("http://")],
        "gpu-exporter": [url.removeprefix("http://") for url in live.agents],
    }
    folder = tmp_path_factory.mktemp("prometheus")
    honoring, relabelling = (
        start_prometheus(folder / name, free_port(), scrape_settings(targets, rule_files(), honor_labels=honors))
        for name, honors in (("honoring", True), ("relabelling", False))
    )
    with honoring as one, relabelling as other:
        for server in (one, other):
            server.wait_for("count(up == 1) == 5")
            server.wait_for('chargeback_cost{period="today"}')
        yield one, other


def test_no_panel_of_any_dashboard_is_empty(scraped: Scraped) -> None:
    """Every panel's and every variable's query answers on the demo's data, however the demo is scraped."""
    for server in scraped:
        check_variables(server)
        check_panels(server)
        check_choices(server)
    check_same(*scraped)


# What alerts on the demo, at once or after its time, and what may not: that would be a defect, of it or of the rule.
ON_THE_DEMO = {
    ("GpuQuotaFullyUsed", "ml-production"),  # 8 of its 8
    ("GpuQuotaAlmostFull", "ml-experiments"),  # 19 of 20
    ("ChargebackUsageUnowned", "sandbox"),
    ("ChargebackMonthNotClosed", "gpu-chargeback"),  # the target's own, for it is about no namespace
}
NEVER_ON_THE_DEMO = re.compile(
    "Chargeback(Absent|MetricsStale|ClusterNotRead|Conservation.*|MoreThanCards|MetersDiffer|UsageUnpriced)"
    "|Gpu(AgentsNotScraped|Spool.*|HoursLost)"
)


def alerts_of(server: PrometheusServer) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Every alert, firing or still waiting for its time, with its labels."""
    return {
        (rule["name"], frozenset(alert["labels"].items()))
        for rule in server.rules()
        for alert in rule.get("alerts", ())
    }


def test_every_rule_evaluates_and_says_the_same_however_the_demo_is_scraped(scraped: Scraped) -> None:
    """With our labels honoured, and put back: the same alerts, and the same series recorded, label by label."""
    one, other = scraped
    assert {target["health"] for server in scraped for target in server.targets()} == {"up"}
    wait_for("every rule is evaluated", lambda: {rule["health"] for rule in one.rules() + other.rules()} == {"ok"})
    wait_for("the same alerts", lambda: alerts_of(one) == alerts_of(other))
    raised = {(name, dict(labels).get("namespace")) for name, labels in alerts_of(one)}
    assert raised >= ON_THE_DEMO
    assert [name for name, _ in raised if NEVER_ON_THE_DEMO.fullmatch(name)] == []
    for name in ("quota:chargeback_quota_used_per_hard:ratio", "namespace:chargeback_owner:info"):
        one.wait_for(name)
    everything = f'{{__name__=~"{"|".join(recorded(one))}"}}'
    wait_for("the same series", lambda: labels_of(one, everything) == labels_of(other, everything) != set())


def recorded(server: PrometheusServer) -> set[str]:
    """The rules that record and have found something."""
    names = {rule["name"] for rule in server.rules() if rule["type"] == "recording"}
    return {name for name in names if server.query(name)}


def labels_of(server: PrometheusServer, expr: str) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(sample.labels.items()) for sample in server.query(expr)}


def test_the_pages_of_both_programs_are_clean(live: Live) -> None:
    """`promtool check metrics` finds nothing to say."""
    for url in (live.server, live.agents[0]):
        page = fetch(f"{url}/metrics")[1]
        checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr.decode()


def test_the_page_looks_right_in_a_browser(live: Live, tmp_path: Path) -> None:
    """Chromium renders the first page: the month and its cost centers are in it."""
    arguments = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--window-size=1100,1000", f"--screenshot={tmp_path / 'page.png'}", "--dump-dom"),
    )
    browser = find_browser()
    shown = subprocess.run(
        [browser, *arguments, f"{live.server}/"], capture_output=True, text=True, check=True, timeout=LIVE_WITHIN_S
    ).stdout
    for text in ("GPU chargeback, ", "prod-001", "platform:idle", "All accounts", "GPU quotas of demo"):
        assert text in shown


def find_browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        for folder in os.environ["PATH"].split(":"):
            if (Path(folder) / name).exists():
                return name
    pytest.skip("no browser here: it comes with Debian's package `chromium`")
