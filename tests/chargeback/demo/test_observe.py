"""What `chargeback demo --observe` says before it begins. That it works is in tests/e2e/test_demo.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.demo.observe import MISSING, configuration, dashboards_folder
from dashboards.prometheus_rules import RULES
from tests.prometheus_server import scrape_configs_shown


def demo(*arguments: str, folder: Path) -> Result:
    return CliRunner().invoke(main, ["demo", "--observe", "--data", str(folder / "data"), *arguments])


def test_without_a_prometheus_it_says_where_to_get_one_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = demo(folder=tmp_path)
    assert (refused.exit_code, refused.stderr) == (2, f"{MISSING}\n")
    assert "apt-get install prometheus" in MISSING
    assert not (tmp_path / "data" / "ledger.db").exists()


def test_once_and_observe_are_one_too_many(tmp_path: Path) -> None:
    refused = demo("--once", folder=tmp_path)
    assert refused.exit_code == 2
    assert "--once stops where --observe would begin" in refused.stderr


def test_it_scrapes_as_the_document_shows_it() -> None:
    """The same jobs, honouring our labels; the agents' has the cluster's name."""
    found = configuration("lab", "http://127.0.0.1:10467", ["http://127.0.0.1:10466"])
    jobs = found["scrape_configs"]
    shown = scrape_configs_shown()[0]
    assert [(job["job_name"], job["honor_labels"]) for job in jobs] == [
        (job["job_name"], job["honor_labels"]) for job in shown
    ]
    assert [job["static_configs"] for job in jobs] == [
        [{"targets": ["127.0.0.1:10467"]}],
        [{"targets": ["127.0.0.1:10466"], "labels": {"cluster": "lab"}}],
    ]
    assert found["rule_files"] == [str(RULES / "*.yaml")]
    assert (dashboards_folder() / "json").is_dir()
