"""The alert rules, by Prometheus' own judge, and the runbook they point to."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "dashboards/alerts.yaml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no `promtool` here: it comes with Debian's package `prometheus`"
)


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@needs_promtool
def test_the_rules_are_valid_and_lint_clean() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES.relative_to(ROOT)))


@needs_promtool
def test_each_alert_fires_at_its_minute_and_is_silent_just_beside() -> None:
    """The cases are in alerts_test.yaml."""
    assert "SUCCESS" in promtool("test", "rules", "tests/dashboards/alerts_test.yaml")


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    cases = yaml.safe_load((Path(__file__).with_name("alerts_test.yaml")).read_text())["tests"]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    for rule in rules():
        outcomes = {bool(check["exp_alerts"]) for check in checks if check["alertname"] == rule["alert"]}
        assert outcomes == {True, False}, rule["alert"]


def test_each_alert_says_what_people_need() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert "{{" not in rule["annotations"]["summary"]


def test_each_alert_has_its_runbook_entry_and_each_entry_its_alert() -> None:
    runbook = (ROOT / "docs/runbook.md").read_text()
    entries = {f"docs/runbook.md#{title.lower()}" for title in re.findall(r"^## (\w+)$", runbook, re.MULTILINE)}
    assert {rule["annotations"]["runbook_url"] for rule in rules()} == entries
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_each_runbook_entry_says_what_it_means_whom_it_hurts_how_to_check_and_how_to_mend() -> None:
    _, *entries = re.split(r"^## ", (ROOT / "docs/runbook.md").read_text(), flags=re.MULTILINE)
    for entry in entries:
        assert re.findall(r"^\*\*(\w+)\.\*\*", entry, re.MULTILINE) == ["Meaning", "Impact", "Check", "Mend"]
