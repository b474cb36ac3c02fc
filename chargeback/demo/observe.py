"""A Prometheus for the demo: it scrapes what runs, evaluates our rules, and ends with the demo."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

import chargeback
from chargeback.demo.processes import DemoFailed, Processes, free_port, wait_ready

PROGRAM = "prometheus"
PORT = 9090
# The page is made every 15 s, but a newcomer watches.
EVERY = "5s"
MISSING = (
    "no `prometheus` in PATH: `apt-get install prometheus` has it on Debian and Ubuntu (stop the service that comes "
    "with it: `systemctl disable --now prometheus`); elsewhere take it from prometheus.io/download"
)


def check_there() -> None:
    """Raises DemoFailed, before anything was started, where no Prometheus is installed."""
    if shutil.which(PROGRAM) is None:
        raise DemoFailed(MISSING)


def start_prometheus(data: Path, cluster: str, server: str, agents: Iterable[str], processes: Processes) -> str:
    """Start it beside the demo, its data in the demo's folder; its URL."""
    folder = (data / "prometheus").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(configuration(cluster, server, agents), sort_keys=False))
    address = f"127.0.0.1:{free_port(PORT)}"
    arguments = (
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    )
    processes.start_program("prometheus", PROGRAM, *arguments)
    url = f"http://{address}"
    wait_ready(url, processes, "/-/ready")
    return url


def configuration(cluster: str, server: str, agents: Iterable[str]) -> dict[str, Any]:
    """As docs/prometheus.md has it: our labels are honoured, and the agents' job says in which cluster they are."""
    return {
        "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
        "rule_files": [str(rules_folder() / "*.yaml")],
        "scrape_configs": [
            {
                "job_name": "chargeback",
                "honor_labels": True,
                "static_configs": [{"targets": [urlsplit(server).netloc]}],
            },
            {
                "job_name": "gpu-exporter",
                "honor_labels": True,
                "static_configs": [
                    {"targets": [urlsplit(url).netloc for url in agents], "labels": {"cluster": cluster}}
                ],
            },
        ],
    }


def dashboards_folder() -> Path:
    """Inside an installed package; beside it in a checkout."""
    package = Path(chargeback.__file__).resolve().parent
    inside = package / "dashboards"
    return inside if inside.is_dir() else package.parent / "dashboards"


def rules_folder() -> Path:
    return dashboards_folder() / "rules"


def how_to_look(url: str) -> list[str]:
    """Lines to print: where it is, and what to tell a Grafana."""
    return [
        f"rules     {url}/rules  (and {url}/alerts)",
        f"Grafana   Connections → Data sources → Prometheus, with the URL {url};",
        f"          then Dashboards → New → Import, each file of {dashboards_folder() / 'json'}",
        "          (a Grafana in a container sees that URL only with the host's network)",
    ]
