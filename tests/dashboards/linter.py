"""The rules of Grafana's dashboard-linter, over built JSON, and the exceptions of its file `.lint`.

The linter is a Go program that is not at hand here; its rules are few. Who has it runs it over `dashboards/json` and
finds what this finds. A rule gets a dashboard and yields what it does not like.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from tests.dashboards.panels import first_choices, panels, substitute
from tests.dashboards.selectors import selectors

Dashboard = Mapping[str, Any]

# Of Grafana's list: another text would be shown as a suffix.
UNITS = {"bytes", "celsius", "dateTimeFromNow", "locale", "percentunit", "s", "short", "watt"}
DESCRIBED = {"stat", "singlestat", "graph", "table", "timeseries", "gauge", "bargauge"}
RATES = ("rate", "irate", "increase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule does not like. panel: "" where it is about the dashboard; target: -1 where about the panel."""

    rule: str
    dashboard: str
    panel: str = ""
    target: int = -1

    def is_excused(self, exceptions: Mapping[str, Any]) -> bool:
        """Whether `.lint` names it: a rule without entries is excused everywhere."""
        if self.rule not in exceptions:
            return False
        entries = exceptions[self.rule].get("entries", [])
        return not entries or any(self._matches(entry) for entry in entries)

    def _matches(self, entry: Mapping[str, str]) -> bool:
        return (
            entry.get("dashboard") == self.dashboard
            and entry.get("panel", "") == self.panel
            and ("targetIdx" not in entry or int(entry["targetIdx"]) == self.target)
        )


Place = tuple[str, int]
Rule = Callable[[Dashboard], Iterator[Place]]


def exceptions(folder: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / ".lint").read_text())["exclusions"]
    return found


def lint(dashboard: Dashboard) -> list[Finding]:
    """Everything, excused or not."""
    return [
        Finding(rule=name, dashboard=dashboard["title"], panel=panel, target=target)
        for name, rule in RULES.items()
        for panel, target in rule(dashboard)
    ]


def _variables(dashboard: Dashboard, kind: str) -> list[Mapping[str, Any]]:
    return [variable for variable in dashboard["templating"]["list"] if variable["type"] == kind]


def _template_datasource(dashboard: Dashboard) -> Iterator[Place]:
    found = [(each["name"], each["label"], each["query"]) for each in _variables(dashboard, "datasource")]
    if found != [("datasource", "Data source", "prometheus")]:
        yield "", -1


def _template(name: str) -> Rule:
    def rule(dashboard: Dashboard) -> Iterator[Place]:
        found = [each for each in _variables(dashboard, "query") if each["name"] == name]
        if not any(each["multi"] and each["allValue"] == ".+" and each["label"].lower() == name for each in found):
            yield "", -1

    return rule


def _template_label_promql(dashboard: Dashboard) -> Iterator[Place]:
    for variable in _variables(dashboard, "query"):
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
        if asked is None or not _parses(substitute(asked[1], {})):
            yield "", -1


def _template_on_time_change_reload(dashboard: Dashboard) -> Iterator[Place]:
    for variable in _variables(dashboard, "query"):
        if variable["refresh"] != 2:
            yield "", -1


def _panel_datasource(dashboard: Dashboard) -> Iterator[Place]:
    for panel in panels(dashboard):
        if panel["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
            yield panel["title"], -1


def _panel_title_description(dashboard: Dashboard) -> Iterator[Place]:
    for panel in panels(dashboard):
        if panel["type"] in DESCRIBED and not (panel["title"] and panel["description"]):
            yield panel["title"], -1


def _panel_units(dashboard: Dashboard) -> Iterator[Place]:
    for panel in panels(dashboard):
        if panel["type"] in DESCRIBED and panel["fieldConfig"]["defaults"].get("unit") not in UNITS:
            yield panel["title"], -1


def _panel_no_targets(dashboard: Dashboard) -> Iterator[Place]:
    for panel in panels(dashboard):
        if not panel["targets"]:
            yield panel["title"], -1


def _of_targets(wrong: Callable[[str, str], bool]) -> Rule:
    """A rule about a target's query: as it is written, and with its variables filled in. One that does not parse is
    the matter of another rule."""

    def rule(dashboard: Dashboard) -> Iterator[Place]:
        choices = first_choices(dashboard)
        for panel in panels(dashboard):
            for number, target in enumerate(panel["targets"]):
                filled_in = substitute(target["expr"], choices)
                if _parses(filled_in) and wrong(target["expr"], filled_in):
                    yield panel["title"], number

    return rule


def _target_promql(dashboard: Dashboard) -> Iterator[Place]:
    choices = first_choices(dashboard)
    for panel in panels(dashboard):
        for number, target in enumerate(panel["targets"]):
            if not _parses(substitute(target["expr"], choices)):
                yield panel["title"], number


def _parses(expr: str) -> bool:
    try:
        promql_parser.parse(expr)
    except ValueError:
        return False
    return True


def _lacks_matcher(label: str) -> Callable[[str, str], bool]:
    def lacks(_: str, expr: str) -> bool:
        return any(label not in {each.name for each in found.matchers.matchers} for found in selectors(expr))

    return lacks


def _rates_another_interval(written: str, _: str) -> bool:
    ranges = re.findall(rf"\b(?:{'|'.join(RATES)})\([^\[]*\[([^\]]+)\]", written)
    return any(each != "$__rate_interval" for each in ranges)


def _counts_without_rate(_: str, expr: str) -> bool:
    """Whether a counter stands anywhere but directly inside rate, irate or increase over a range."""
    rated = re.findall(rf"\b(?:{'|'.join(RATES)})\((\w+_total)\b[^)]*\]\)", expr)
    counters = [found.name for found in selectors(expr) if str(found.name).endswith("_total")]
    return sorted(rated) != sorted(counters)


def _uneditable(dashboard: Dashboard) -> Iterator[Place]:
    if dashboard["editable"] is not False:
        yield "", -1


RULES: Mapping[str, Rule] = {
    "template-datasource-rule": _template_datasource,
    "template-job-rule": _template("job"),
    "template-instance-rule": _template("instance"),
    "template-label-promql-rule": _template_label_promql,
    "template-on-time-change-reload-rule": _template_on_time_change_reload,
    "panel-datasource-rule": _panel_datasource,
    "panel-title-description-rule": _panel_title_description,
    "panel-units-rule": _panel_units,
    "panel-no-targets-rule": _panel_no_targets,
    "target-promql-rule": _target_promql,
    "target-rate-interval-rule": _of_targets(_rates_another_interval),
    "target-job-rule": _of_targets(_lacks_matcher("job")),
    "target-instance-rule": _of_targets(_lacks_matcher("instance")),
    "target-counter-agg-rule": _of_targets(_counts_without_rate),
    "uneditable-dashboard": _uneditable,
}
