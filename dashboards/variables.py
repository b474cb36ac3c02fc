"""What a viewer picks at the top of a page. Each narrows the ones after it; each may hold several values, or All."""

from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.builders.dashboard import (
    CustomVariable,
    DatasourceVariable,
    QueryVariable,
    TextBoxVariable,
)
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

from dashboards import device_queries as dq
from dashboards import queries as q
from dashboards.panels import DATASOURCE

PERIODS = {"today": "Today", "yesterday": "Yesterday", "month": "This month", "last_month": "Last month"}
DEFAULT_PERIOD = "month"

# What All is where nothing else is said: it also matches a label that is absent.
EVERY = ".*"

# Where `chargeback demo` serves its page. Who provisions these dashboards changes both here and builds them anew.
DEFAULT_PAGE = "http://localhost:10467"
DEFAULT_RUNBOOK = "https://runbooks.example.com/gpu-chargeback/runbook.md"


def datasource() -> Any:
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def owners(*, only_theirs: bool = False) -> Iterator[Any]:
    """Cluster, cost center, team, namespace: as the ledger and the quotas have them.

    only_theirs  All namespaces are then those of the cost centers and teams that are picked, one by one, and not
                 whatever there is: agents know no owners, and would show everybody's
    """
    chosen_center = 'cost_center=~"$cost_center"'
    yield cluster()
    centers = q.values_of("cost_center", q.PICKED_CLUSTER, q.TENANTS)
    yield _asked("cost_center", "Cost center", centers).all_value(EVERY)
    yield _asked("team", "Team", q.values_of("team", q.PICKED_CLUSTER, chosen_center)).all_value(EVERY)
    matchers = (q.PICKED_CLUSTER, chosen_center, 'team=~"$team"')
    namespaces = _asked("namespace", "Namespace", q.values_of("namespace", *matchers))
    yield namespaces if only_theirs else namespaces.all_value(EVERY)


def cluster() -> Any:
    """By itself, where nothing on the page belongs to an owner."""
    return _asked("cluster", "Cluster", q.values_of("cluster")).all_value(EVERY)


def devices() -> Iterator[Any]:
    """Node and model, as the agents have them."""
    yield _asked("node", "Node", dq.values_of("node", dq.PICKED_CLUSTER)).all_value(EVERY)
    models = dq.values_of("model", dq.PICKED_CLUSTER, 'node=~"$node"')
    yield _asked("model", "Model", models).all_value(EVERY)


def period() -> Any:
    """Which of the ledger's four periods money and GPU-hours are of; the time range picks what lines show."""
    options = [
        VariableOption(text=text, value=name, selected=name == DEFAULT_PERIOD) for name, text in PERIODS.items()
    ]
    current = VariableOption(text=PERIODS[DEFAULT_PERIOD], value=DEFAULT_PERIOD, selected=True)
    values = ", ".join(f"{text} : {name}" for name, text in PERIODS.items())
    return CustomVariable("period").label("Period").values(values).options(options).current(current)


def link_variables() -> Iterator[Any]:
    """Where links lead: on every page."""
    yield _text("page", "Bill page", DEFAULT_PAGE)
    yield _text("runbook", "Runbook", DEFAULT_RUNBOOK)


def _asked(name: str, label: str, query: str) -> Any:
    return (
        QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(query)
        .multi(True)
        .include_all(True)
        .current(VariableOption(selected=True, text="All", value="$__all"))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _text(name: str, label: str, default: str) -> Any:
    current = VariableOption(selected=True, text=default, value=default)
    return TextBoxVariable(name).label(label).default_value(default).current(current).options([current])
