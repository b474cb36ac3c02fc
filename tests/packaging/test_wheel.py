"""The built wheel, installed into empty environments outside the checkout, is whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.programs import PAST_DAY, PAST_MONTH, fetch, free_port

ROOT = Path(__file__).resolve().parents[2]
READY_CPU_S = 1.0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


class Environment:
    """A virtual environment with the wheel and one of its extras, and nothing else."""

    def __init__(self, folder: Path, wheel: Path, extras: str) -> None:
        venv.create(folder, with_pip=True)
        self.folder = folder
        self.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[{extras}]")

    def command(self, name: str, *arguments: str) -> list[str]:
        return [str(self.folder / "bin" / name), *arguments]

    def run(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of its commands, in its own folder: the checkout must not help."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            self.command(name, *arguments),
            cwd=self.folder,
            env=environment,
            check=check,
            capture_output=True,
            text=True,
        )

    def packages(self) -> set[str]:
        listed = self.run("python", "-m", "pip", "list", "--format=freeze").stdout
        return {line.partition("==")[0].lower() for line in listed.splitlines()}

    @contextmanager
    def serving(self, name: str, *arguments: str) -> Iterator[str]:
        """Start a server; yields its URL once it is ready."""
        port = free_port()
        started = time.monotonic()
        process = subprocess.Popen(
            self.command(name, *arguments, "--listen", f"127.0.0.1:{port}"),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            while fetch(f"{url}/readyz")[0] != 200:
                assert process.poll() is None
                assert time.monotonic() - started < 60
                time.sleep(0.01)
            yield url
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def agent(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("agent"), wheel, "exporter")


@pytest.fixture(scope="module")
def aggregator(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("aggregator"), wheel, "chargeback")


def test_nothing_is_installed_at_the_top_but_the_two_packages(wheel: Path) -> None:
    """Migrations and dashboards lie inside `chargeback`."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"chargeback", "exporter"}
    assert "chargeback/migrations/versions/0001_ledger.py" in names
    assert {"chargeback/dashboards/json/chargeback.json", "chargeback/dashboards/rules/quotas.yaml"} <= set(names)
    assert "chargeback/default_prices.yaml" in names
    assert {"chargeback/web_config.py", "chargeback/web_guard.py"} <= set(names), "links here, files in the wheel"


def test_the_agent_carries_none_of_the_aggregators_libraries(agent: Environment) -> None:
    """Its image stays small."""
    assert not {"sqlalchemy", "kubernetes", "alembic", "pydantic", "rich", "jinja2", "grpcio"} & agent.packages()


def test_the_agent_is_ready_after_a_second_of_work(agent: Environment) -> None:
    """By its own page, for what else the machine does is not its fault. Best of three starts."""
    times = []
    for _ in range(3):
        with agent.serving("gpu-exporter", "--simulate", "--node", "laptop") as url:
            page = urllib.request.urlopen(f"{url}/metrics").read().decode()
        assert "gpu_info{" in page
        (used,) = re.findall(r"^process_cpu_seconds_total (\S+)$", page, re.MULTILINE)
        times.append(float(used))
    assert 0 < min(times) < READY_CPU_S


def test_without_nvml_the_agent_says_what_is_missing(agent: Environment) -> None:
    """And exits 2."""
    ended = agent.run("gpu-exporter", "--node", "laptop", check=False)
    assert ended.returncode == 2
    assert "libnvidia-ml.so.1" in ended.stderr
    assert "--simulate" in ended.stderr


def test_the_aggregator_migrates_serves_and_exports(aggregator: Environment, agent: Environment) -> None:
    """A month's CSV out of an installed wheel, with the prices that travel in it."""
    data = aggregator.folder / "data"
    data.mkdir()
    (data / "namespaces.yaml").write_text(
        "kind: Namespace\nmetadata: {name: ml-production, labels: {cost-center: prod-001, team: platform}}\n"
    )
    newest = max(file.name[:4] for file in (ROOT / "migrations/versions").glob("[0-9]*.py"))
    assert f"empty → {newest}" in aggregator.run("chargeback", "migrate", "--data", "data").stdout
    settings = ("--data", "data", "--owners", "data/namespaces.yaml", "--prices", "default", "--grace", "0s")
    with aggregator.serving("chargeback", "serve", *settings) as url:
        replay = ("--replay", f"{PAST_DAY}T14Z..{PAST_DAY}T16Z", "--beat", "1m", "--push", url)
        agent.run("gpu-exporter", "--simulate", "--node", "laptop", *replay)
        aggregator.run("chargeback", "rerate", "--now", "--data", "data")
        served = urllib.request.urlopen(f"{url}/v1/statements/{PAST_MONTH}.csv").read().decode()
    exported = aggregator.run("chargeback", "export", "--data", "data", "--month", PAST_MONTH, "-o", "month.csv")
    assert exported.returncode == 0, exported.stderr
    assert (aggregator.folder / "month.csv").read_bytes().decode() == served
    assert "prod-001" in served
    assert "NVIDIA H100 80GB HBM3" in aggregator.run("chargeback", "prices", "show", "--default").stdout
