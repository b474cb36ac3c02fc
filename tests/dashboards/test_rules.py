"""The rules, by Prometheus' own judge: valid, each alert at its minute, and silent in the nearest case beside."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chargeback.families import FAMILIES
from dashboards.prometheus_rules import TARGET, manifest, rule_files
from exporter.families import FAMILIES as AGENT_FAMILIES
from tests.dashboards.selectors import metric_names

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).with_name("rules")
WITHIN_S = 300  # promtool takes five seconds for all cases where nothing else runs
METRICS = {family.name for family in (*FAMILIES, *AGENT_FAMILIES)}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no `promtool` here: it comes with Debian's package `prometheus`"
)


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def rules_of(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for path in rule_files() for rule in rules_of(path) if "alert" in rule]


def cases_of(path: Path) -> dict[str, Any]:
    """All plain text: `0x30`, thirty zeros more to promtool, is a number to YAML."""
    found: dict[str, Any] = yaml.load((CASES / f"{path.stem}_test.yaml").read_text(), Loader=yaml.BaseLoader)
    return found


@needs_promtool
def test_they_are_valid_and_lint_clean() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, rule_files()))


@needs_promtool
def test_each_alert_fires_at_its_minute_and_is_silent_just_beside() -> None:
    """The cases are in rules/."""
    promtool("test", "rules", *(str(CASES / f"{path.stem}_test.yaml") for path in rule_files()))


@needs_promtool
def test_a_second_replica_and_a_second_scrape_job_double_nothing(tmp_path: Path) -> None:
    """Every series of every case twice, and the same alerts, values and texts."""
    for path in rule_files():
        cases = cases_of(path)
        cases["rule_files"] = [str(path)]
        for case in cases["tests"]:
            case["input_series"] = [
                {"series": copy, "values": each["values"]}
                for each in case["input_series"]
                for copy in (scraped_by("one", each["series"]), scraped_by("another", each["series"]))
            ]
        (tmp_path / path.name).write_text(yaml.safe_dump(cases))
    promtool("test", "rules", *map(str, tmp_path.glob("*.yaml")))


def scraped_by(who: str, series: str) -> str:
    """The series of one replica of the aggregator; of an agent, of which there is only one, by one job."""
    name, _, labels = series.rstrip("}").partition("{")
    own = dict(re.findall(r'(\w+)="([^"]*)"', labels))
    if name.startswith("chargeback_"):
        own |= {"instance": f"{who}-{own.get('instance', '')}", "pod": f"{who}-{own.get('pod', '')}"}
    return f"{name}{{{','.join(f'{key}={json.dumps(value)}' for key, value in (own | {'job': who}).items())}}}"


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    for path in rule_files():
        checks = [check for case in cases_of(path)["tests"] for check in case["alert_rule_test"]]
        for rule in rules_of(path):
            if "alert" in rule:
                outcomes = {bool(check["exp_alerts"]) for check in checks if check["alertname"] == rule["alert"]}
                assert outcomes == {True, False}, rule["alert"]


def test_each_case_in_which_an_alert_fires_has_a_check_a_minute_before() -> None:
    """So that `for` and every window are held to the minute, in the same case."""
    for path in rule_files():
        for rule in rules_of(path):
            if "alert" in rule:
                assert any(_from_silence(case, rule["alert"]) for case in cases_of(path)["tests"]), rule["alert"]


def _from_silence(case: dict[str, Any], alert: str) -> bool:
    checks = [check for check in case["alert_rule_test"] if check["alertname"] == alert]
    minutes = {int(check["eval_time"].removesuffix("m")): bool(check["exp_alerts"]) for check in checks}
    return any(fires and minutes.get(minute - 1) is False for minute, fires in minutes.items())


def test_they_are_about_metrics_that_the_programs_have() -> None:
    """Or about what a rule of the same file records, in one before it."""
    for path in rule_files():
        recorded: set[str] = set()
        for rule in rules_of(path):
            named = metric_names(rule["expr"])
            assert named, rule
            assert named <= METRICS | recorded, rule
            recorded |= {rule["record"]} if "record" in rule else set()


def test_each_alert_says_what_people_need() -> None:
    for rule in alerts():
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert "{{" not in rule["annotations"]["summary"]


def test_the_prometheus_operator_gets_the_very_same_rules() -> None:
    """The written objects are up to date, and their groups are those of the files, one object a file."""
    assert TARGET.read_text() == manifest()
    objects = list(yaml.safe_load_all(TARGET.read_text()))
    assert [each["kind"] for each in objects] == ["PrometheusRule"] * len(rule_files())
    assert [each["spec"] for each in objects] == [yaml.safe_load(path.read_text()) for path in rule_files()]
    assert len({each["metadata"]["name"] for each in objects}) == len(objects)
