"""A real Prometheus for a test: on a free loopback port, in a folder of its own, and always stopped again.

    settings = scrape_settings({"chargeback": ["127.0.0.1:10467"]}, rule_files(), honor_labels=True)
    with start_prometheus(folder, free_port(), settings) as server:
        assert server.wait_for("chargeback_build_info")

Each target has labels of its own, as those that Kubernetes tells of have. Without `honor_labels` it is scraped as
docs/prometheus.md shows it for services that cannot honour ours; what is asked should be answered the same.
A start costs six seconds, five of which Prometheus waits before its first scrape: ask much of one server.
Its calls block. A test whose own event loop serves what is scraped calls them through `asyncio.to_thread`.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml

READY_WITHIN_S = 30  # on two busy cores it has taken five
ANSWER_WITHIN_S = 10
THERE_WITHIN_S = 90  # an agent pushes every 30 s, and the aggregator makes its page every 15
STOPS_WITHIN_S = 10
POLL_EVERY_S = 0.1
PROMETHEUS_DOC = Path(__file__).resolve().parents[1] / "docs/prometheus.md"

# No proxy: what a proxy says of a loopback address is not about our server.
_opener = build_opener(ProxyHandler({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One series of an instant query's answer. A scalar is a sample without labels."""

    labels: Mapping[str, str]
    value: float


class QueryRefused(Exception):
    """Prometheus did not like the question; the text is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusServer:
    """A server that is up. `start_prometheus` makes one."""

    url: str

    def query(self, expr: str, *, at_s: float | None = None) -> list[Sample]:
        """Ask one instant query, now or at a Unix time."""
        parameters = {"query": expr} if at_s is None else {"query": expr, "time": f"{at_s:.3f}"}
        answer = self._get("/api/v1/query", parameters)
        if answer["resultType"] == "scalar":
            return [Sample(labels={}, value=float(answer["result"][1]))]
        return [Sample(labels=row["metric"], value=float(row["value"][1])) for row in answer["result"]]

    def query_range(self, expr: str, *, start_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
        """Ask a range query; the answer is Prometheus' own matrix."""
        parameters = {"query": expr, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s}"}
        result: list[dict[str, Any]] = self._get("/api/v1/query_range", parameters)["result"]
        return result

    def wait_for(self, expr: str, *, within_s: float = THERE_WITHIN_S) -> list[Sample]:
        """The first answer to `expr` that is not empty; fails the test when none comes."""
        until = time.monotonic() + within_s
        while not (samples := self.query(expr)):
            if time.monotonic() > until:
                pytest.fail(f"no answer to {expr} within {within_s} s; targets: {self.targets()}")
            time.sleep(POLL_EVERY_S)
        return samples

    def targets(self) -> list[dict[str, Any]]:
        """The scrape targets and how the last scrape of each went (`health`, `lastError`)."""
        active: list[dict[str, Any]] = self._get("/api/v1/targets", {"state": "active"})["activeTargets"]
        return active

    def rules(self) -> list[dict[str, Any]]:
        """Every loaded rule, with its `health`, `state` and `alerts`."""
        return [rule for group in self._get("/api/v1/rules", {})["groups"] for rule in group["rules"]]

    def is_ready(self) -> bool:
        try:
            with _opener.open(f"{self.url}/-/ready", timeout=ANSWER_WITHIN_S) as response:
                return bool(response.status == 200)
        except (URLError, ConnectionError, TimeoutError):
            return False

    def _get(self, path: str, parameters: Mapping[str, str]) -> Any:
        try:
            with _opener.open(f"{self.url}{path}?{urlencode(parameters)}", timeout=ANSWER_WITHIN_S) as response:
                return json.load(response)["data"]
        except HTTPError as error:
            with error:
                raise QueryRefused(f"{parameters}: {json.load(error).get('error')}") from None


@contextmanager
def start_prometheus(folder: Path, port: int, settings: Mapping[str, Any]) -> Iterator[PrometheusServer]:
    """Run Prometheus in `folder` until the block ends, configured as `scrape_settings` makes it, or otherwise."""
    folder.mkdir()
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(dict(settings)))
    server = PrometheusServer(url=f"http://127.0.0.1:{port}")
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_until_ready(server, process, log)
            yield server
        finally:
            _stop(process)


def scrape_configs_shown() -> list[list[dict[str, Any]]]:
    """The scrape configurations that docs/prometheus.md shows: honouring our labels, and putting them back."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PROMETHEUS_DOC.read_text(), re.DOTALL | re.MULTILINE)
    return [shown["scrape_configs"] for shown in map(yaml.safe_load, blocks) if "scrape_configs" in shown]


def scrape_settings(
    targets: Mapping[str, Sequence[str]], rule_files: Sequence[Path], *, honor_labels: bool
) -> dict[str, Any]:
    """Job name to `host:port`s, scraped each second. Every job is scraped as the document scrapes its own."""
    honoring, relabelling = scrape_configs_shown()
    shown = (honoring if honor_labels else relabelling)[0]
    how = {key: shown[key] for key in ("honor_labels", "metric_relabel_configs") if key in shown}
    jobs = [
        {
            "job_name": job,
            **how,
            "static_configs": [_target(job, number, each) for number, each in enumerate(addresses)],
        }
        for job, addresses in targets.items()
    ]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path.resolve()) for path in rule_files],
        "scrape_configs": jobs,
    }


def _target(job: str, number: int, address: str) -> dict[str, Any]:
    """With the labels of the pod that serves it, which are not those of the pods that its metrics describe."""
    labels = {"namespace": "gpu-chargeback", "pod": f"{job}-{number}", "container": job}
    return {"targets": [address], "labels": labels}


def _wait_until_ready(server: PrometheusServer, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while not server.is_ready():
        if process.poll() is not None or time.monotonic() > until:
            pytest.fail(
                f"Prometheus did not get ready (exit status {process.returncode}):\n{log.read_text()[-2000:]}"
            )
        time.sleep(POLL_EVERY_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
