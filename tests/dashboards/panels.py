"""Read a built dashboard as Grafana would: its panels, and their queries with every variable filled in."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Value = str | Sequence[str]

# What Grafana computes from the page's time range and the scrape interval. Any plausible length will do.
BUILT_IN = {
    "__rate_interval": "1m",
    "__range": "1h",
    "__range_s": "3600",
    "__interval": "15s",
    "__interval_ms": "15000",
}

ALL = ".*"

_VARIABLE = re.compile(r"\$\{(?P<braced>\w+)(?::(?P<format>\w+))?\}|\$(?P<bare>\w+)")
_SPECIAL = re.compile(r"[$^*{}\[\]'+?.()|\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelQuery:
    """One query of one panel, ready to be asked."""

    panel: str
    ref_id: str
    legend: str
    expr: str
    instant: bool


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every panel that shows something: the rows themselves are left out, what is folded into them is not."""
    found = []
    for panel in dashboard["panels"]:
        found += panel.get("panels", []) if panel["type"] == "row" else [panel]
    return found


def panel_queries(dashboard: Mapping[str, Any], variables: Mapping[str, Value] | None = None) -> list[PanelQuery]:
    """Every query of every panel. A variable that `variables` does not name is what the page has at first."""
    chosen = first_choices(dashboard) | dict(variables or {})
    return [
        PanelQuery(
            panel=panel["title"],
            ref_id=target["refId"],
            legend=target["legendFormat"],
            expr=substitute(target["expr"], chosen),
            instant=target.get("instant", False),
        )
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def first_choices(dashboard: Mapping[str, Any]) -> dict[str, Value]:
    """What the variables are when the page is opened; All is `.*`, whatever the page writes for it."""
    return {
        variable["name"]: ALL if variable["current"]["value"] == "$__all" else variable["current"]["value"]
        for variable in dashboard.get("templating", {"list": []})["list"]
        if variable["type"] != "datasource"
    }


def substitute(expr: str, variables: Mapping[str, Value]) -> str:
    """Fill in `$name`, `${name}` and `${name:regex}` as Grafana's Prometheus data source does."""

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        if name in BUILT_IN:
            return BUILT_IN[name]
        chosen = variables.get(name, ALL)
        return ALL if chosen == ALL else _regex([chosen] if isinstance(chosen, str) else chosen)

    return _VARIABLE.sub(value, expr)


def variable_queries(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(variable, selector, label) of each `label_values(selector, label)` at the top of the page."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((?P<selector>.+), (?P<label>\w+)\)", variable["query"])
            assert match, variable["query"]
            yield variable["name"], match["selector"], match["label"]


def _regex(values: Sequence[str]) -> str:
    """A choice of values as a PromQL regex; two backslashes, because it stands inside a PromQL string."""
    escaped = [_SPECIAL.sub(r"\\\\\g<0>", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
