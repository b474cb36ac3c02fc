"""What docs/prometheus.md shows is what Prometheus and Alertmanager take, and routes as it says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from dashboards.prometheus_rules import TARGET, rule_files
from tests.dashboards.test_rules import alerts
from tests.prometheus_server import PROMETHEUS_DOC, scrape_configs_shown

ROOT = Path(__file__).parents[2]
ALERTMANAGER = ROOT / "deploy/examples/alertmanager.yml"
DOCUMENT = PROMETHEUS_DOC.read_text()
ROUTES: list[tuple[str, str]] = re.findall(r"^\| `(alertname=[^`]+)` \| (.+) \|$", DOCUMENT, re.MULTILINE)


def output_of(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_way_to_scrape_is_one_that_prometheus_takes_with_the_rules(tmp_path: Path) -> None:
    """One job a program. Debian's Prometheus knows no discovery of pods, so that part is only compared."""
    for number, jobs in enumerate(scrape_configs_shown()):
        assert [job["job_name"] for job in jobs] == ["chargeback", "gpu-exporter"]
        assert {job["honor_labels"] for job in jobs} == {number == 0}
        assert [job.pop("kubernetes_sd_configs") for job in jobs] == [
            [{"role": "pod", "namespaces": {"names": ["gpu-chargeback"]}}]
        ] * 2
        relabelling = [job.get("metric_relabel_configs") for job in jobs]
        assert relabelling[0] == relabelling[1]
        config = tmp_path / f"{number}.yml"
        config.write_text(yaml.safe_dump({"scrape_configs": jobs, "rule_files": list(map(str, rule_files()))}))
        assert "SUCCESS" in output_of("promtool", "check", "config", str(config))


def test_the_rule_files_that_it_names_are_the_rules() -> None:
    (shown,) = re.findall(r"^rule_files:\n  - (\S+)$", DOCUMENT, re.MULTILINE)
    assert sorted(ROOT.glob(shown)) == rule_files()


def test_the_command_that_it_shows_makes_a_link_of_each_runbook_url(tmp_path: Path) -> None:
    """In the files, and in what the Prometheus operator gets; and nothing else is changed."""
    ((edit, url),) = re.findall(
        r"^ *sed --in-place '(s\|docs/runbook.md\|(.+)\|)' dashboards/rules/", DOCUMENT, re.MULTILINE
    )
    copies = [Path(shutil.copy(path, tmp_path / path.name)) for path in (*rule_files(), TARGET)]
    before = "".join(path.read_text() for path in copies)
    output_of("sed", "--in-place", edit, *map(str, copies))
    after = "".join(path.read_text() for path in copies)
    links = re.findall(r"runbook_url: (.+)#\w+$", after, re.MULTILINE)
    assert links == [url] * 2 * len(alerts())
    assert after == before.replace("runbook_url: docs/runbook.md#", f"runbook_url: {url}#")


def test_alertmanager_takes_the_example_which_is_the_one_shown() -> None:
    assert "SUCCESS" in output_of("amtool", "check-config", str(ALERTMANAGER))
    assert f"```yaml\n{ALERTMANAGER.read_text()}```" in DOCUMENT


@pytest.mark.parametrize(("labels", "shown"), ROUTES)
def test_alerts_go_where_the_document_says(labels: str, shown: str) -> None:
    wanted = ",".join(re.findall(r"`([^`]+)`", shown))
    found = output_of("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels.split())
    assert found.strip() == wanted


def test_the_alerts_that_are_routed_and_inhibited_are_some_that_there_are() -> None:
    """With the severity that they have."""
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in alerts()}
    for labels, _ in ROUTES:
        given = dict(pair.split("=") for pair in labels.split())
        assert severities[given["alertname"]] == given["severity"]
    named = set(re.findall(r"\b(?:Gpu|Chargeback)\w+\b", ALERTMANAGER.read_text())) - {"GpuBudget"}
    assert named <= severities.keys()
