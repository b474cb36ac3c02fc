"""dashboard-linter's rules hold for every dashboard, but for the exceptions in `dashboards/json/.lint`."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.build import FOLDER, PAGES, path_of
from tests.dashboards.linter import RULES, exceptions, lint

Json = dict[str, Any]


def read(name: str) -> Json:
    found: Json = json.loads(path_of(name).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_found_but_what_is_excused(name: str) -> None:
    excused = exceptions(FOLDER)
    assert [finding for finding in lint(read(name)) if not finding.is_excused(excused)] == []


def test_each_exception_has_a_reason_and_is_needed() -> None:
    found = {finding.rule for name in PAGES for finding in lint(read(name))}
    for rule, exception in exceptions(FOLDER).items():
        assert exception["reason"], rule
        assert rule in found, f"{rule}: nothing is found any more"


def _spoil_target(expr: str) -> Callable[[Json], None]:
    def spoil(dashboard: Json) -> None:
        next(panel for panel in dashboard["panels"] if panel["type"] == "stat")["targets"][0]["expr"] = expr

    return spoil


def _spoil_panel(**fields: object) -> Callable[[Json], None]:
    def spoil(dashboard: Json) -> None:
        next(panel for panel in dashboard["panels"] if panel["type"] == "stat").update(fields)

    return spoil


def _spoil_variables(**fields: object) -> Callable[[Json], None]:
    def spoil(dashboard: Json) -> None:
        next(each for each in dashboard["templating"]["list"] if each["type"] == "query").update(fields)

    return spoil


SPOILT: dict[str, Callable[[Json], None]] = {
    "template-datasource-rule": lambda dashboard: dashboard["templating"]["list"][0].update(name="source"),
    "template-label-promql-rule": _spoil_variables(query="label_values(gpu_info{, node)"),
    "template-on-time-change-reload-rule": _spoil_variables(refresh=1),
    "panel-datasource-rule": _spoil_panel(datasource={"type": "prometheus", "uid": "P1"}),
    "panel-title-description-rule": _spoil_panel(description=""),
    "panel-units-rule": _spoil_panel(fieldConfig={"defaults": {"unit": "GPU-hours"}}),
    "panel-no-targets-rule": _spoil_panel(targets=[]),
    "target-promql-rule": _spoil_target("sum("),
    "target-rate-interval-rule": _spoil_target("rate(gpu_held_seconds_total[5m])"),
    "target-counter-agg-rule": _spoil_target("sum(gpu_held_seconds_total)"),
    "uneditable-dashboard": lambda dashboard: dashboard.update(editable=True),
}


@pytest.mark.parametrize("rule", SPOILT)
def test_a_rule_finds_what_it_is_for(rule: str) -> None:
    dashboard = copy.deepcopy(read("fleet"))
    SPOILT[rule](dashboard)
    assert rule in {finding.rule for finding in lint(dashboard)}


def test_every_rule_is_tried_or_excused() -> None:
    assert RULES.keys() == SPOILT.keys() | exceptions(FOLDER).keys()
