"""What agents' counters come to, by Prometheus' own judge: an agent beats every 10 s, and is scraped every 15 s."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dashboards import device_queries as dq
from tests.dashboards.panels import substitute

BEAT_S, SCRAPE_S, UNTIL_S = 10, 15, 400
DEVICE = 'node="n1",uuid="GPU-1",gpu="0",model="H100",mig_profile="",parent_uuid="",instance="a:10466",job="agents"'
HOLDER = f'{DEVICE},namespace="ml",pod="a",container="main"'

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no `promtool` here: it comes with Debian's package `prometheus`"
)


def stepping(pace: float = 1.0) -> str:
    """What a scrape sees of something that grows by so much a second, and shows it at each beat."""
    return " ".join(str(pace * (at // BEAT_S * BEAT_S)) for at in range(0, UNTIL_S, SCRAPE_S))


@needs_promtool
def test_a_card_held_all_the_time_is_one_wherever_the_scrape_falls(tmp_path: Path) -> None:
    """A quarter busy, at 300 W; observed all the time. The window of a minute holds five or four scrapes."""
    series = {
        f"gpu_observed_seconds_total{{{DEVICE}}}": stepping(),
        f"gpu_idle_seconds_total{{{DEVICE}}}": stepping(0.0),
        f"gpu_held_seconds_total{{{HOLDER}}}": stepping(),
        f"gpu_busy_seconds_total{{{HOLDER}}}": stepping(0.25),
        f"gpu_held_energy_joules_total{{{HOLDER}}}": stepping(300.0),
        f"gpu_busy_known{{{HOLDER}}}": f"1x{UNTIL_S // SCRAPE_S}",
        'gpu_exporter_last_beat_timestamp_seconds{instance="a:10466",job="agents"}': stepping(),
    }
    expected = {
        dq.held(): 1.0,
        dq.idle(): 0.0,
        dq.held_and_idle(): 0.75,
        dq.held_ratio(): 1.0,
        dq.busy_ratio(): 0.25,
        dq.power_of_holders(): 300.0,
        f"sum({dq.observed_ratio(('node',))})": 1.0,
    }
    checks = [
        {
            "expr": f"round({substitute(expr, {})}, 0.0001)",
            "eval_time": f"{at}s",
            "exp_samples": [{"labels": "{}", "value": value}],
        }
        for expr, value in expected.items()
        for at in (300, 307, 316, 322)
    ]
    judge(tmp_path, SCRAPE_S, series, checks)


@needs_promtool
def test_of_a_fleet_that_nobody_ever_held_nothing_is_held(tmp_path: Path) -> None:
    """No holder has a series yet, and zero is a number."""
    series = {f"gpu_{name}_seconds_total{{{DEVICE}}}": stepping() for name in ("observed", "idle")}
    check = {"expr": substitute(dq.held_ratio(), {}), "exp_samples": [{"labels": "{}", "value": 0}]}
    judge(tmp_path, SCRAPE_S, series, [check | {"eval_time": "300s"}])


@needs_promtool
def test_one_rare_thing_in_an_hour_is_one(tmp_path: Path) -> None:
    """For an hour, and not sixty for a minute."""
    series = {f'gpu_ecc_errors_total{{{DEVICE},kind="uncorrected"}}': "0x30 1x120"}
    expr = f"round(sum({dq.in_last_hour('gpu_ecc_errors_total')}))"
    checks = [
        {"expr": substitute(expr, {}), "eval_time": f"{at}m", "exp_samples": [{"labels": "{}", "value": value}]}
        for at, value in ((30, 0), (31, 1), (60, 1), (120, 0))
    ]
    judge(tmp_path, 60, series, checks)


@needs_promtool
def test_agents_of_two_clusters_may_have_one_address(tmp_path: Path) -> None:
    """Clusters often give their pods the same addresses, and one Prometheus may know both."""
    series = {
        f'{name}{{cluster="{cluster}",instance="10.244.1.5:10466",job="agents"}}': values
        for cluster, bodies in (("a", 3), ("b", 1))
        for name, values in (("gpu_exporter_spool_bodies", f"{bodies}x60"), ("gpu_exporter_beats_total", "0+6x60"))
    }
    expected = {f"sum({dq.of_agents('gpu_exporter_spool_bodies')})": 4}
    expected[f"round(sum({dq.agents_pace('gpu_exporter_beats_total')}) * 60)"] = 24
    checks = [
        {"expr": substitute(expr, {}), "eval_time": "30m", "exp_samples": [{"labels": "{}", "value": value}]}
        for expr, value in expected.items()
    ]
    judge(tmp_path, 30, series, checks)


def judge(folder: Path, interval_s: int, series: Mapping[str, str], checks: Sequence[Mapping[str, Any]]) -> None:
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    case = {"interval": f"{interval_s}s", "input_series": inputs, "promql_expr_test": checks}
    (folder / "case.yaml").write_text(json.dumps({"rule_files": [], "tests": [case]}))
    done = subprocess.run(
        ["promtool", "test", "rules", "case.yaml"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
