"""What the agent says of itself is what the kernel says."""

from __future__ import annotations

import os
import re
import resource
import time
from pathlib import Path

import pytest
from prometheus_client import ProcessCollector

from exporter.own_process import own_process
from tests.programs import running

MIB = 2**20


def test_memory_that_is_taken_is_shown() -> None:
    before = own_process()["process_resident_memory_bytes"]
    kept = bytearray(os.urandom(1)) * (64 * MIB)
    assert own_process()["process_resident_memory_bytes"] - before > 48 * MIB
    assert len(kept) == 64 * MIB


def test_time_that_is_spent_is_shown() -> None:
    before = own_process()["process_cpu_seconds_total"]
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert 0.1 < own_process()["process_cpu_seconds_total"] - before < 2


def test_the_figures_are_those_that_every_client_gives() -> None:
    """Names and values, beside Prometheus' own client."""
    ours = own_process()
    theirs = {s.name: s.value for metric in ProcessCollector(registry=None).collect() for s in metric.samples}
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=0.05), name


def test_with_no_file_left_to_open_nothing_is_said() -> None:
    """And nothing is raised: the beat goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert own_process() == {}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_every_figure_of_a_running_agent_is_on_its_page(tmp_path: Path) -> None:
    """Each collector's duration and success, the beat's lag, the spool's size, and what the process costs."""
    spool = ("--spool", str(tmp_path / "spool"))
    with running("exporter.cli", "--simulate", "--beat", "1s", *spool, log=tmp_path / "log") as agent:
        page = agent.get("/metrics").decode()
        (listed,) = (int(line.split()[1]) for line in _status(agent.process.pid) if line.startswith("VmRSS"))
    figures = dict(re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", page, re.MULTILINE))
    for collector in ("gpus", "holdings", "processes"):
        assert float(figures[f'gpu_exporter_collector_success{{collector="{collector}"}}']) == 1
        assert 0 <= float(figures[f'gpu_exporter_collector_duration_seconds{{collector="{collector}"}}']) < 60
    assert 0 <= float(figures["gpu_exporter_beat_lag_seconds"]) < 60
    assert float(figures["gpu_exporter_spool_bytes"]) > 0
    assert 0.5 < float(figures["process_resident_memory_bytes"]) / (listed * 1024) < 2
    assert 0 < float(figures["process_cpu_seconds_total"]) < 60
    assert abs(time.time() - float(figures["process_start_time_seconds"])) < 120
    assert 0 < float(figures["process_open_fds"]) < float(figures["process_max_fds"])
    assert "gpu_exporter_last_push_timestamp_seconds" not in figures, "nothing was ever pushed: no age, not a zero"


def _status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()
