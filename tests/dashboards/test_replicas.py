"""Two replicas that serve one ledger: every panel shows it once. A real Prometheus scrapes a page that has it all."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

import pytest

from tests.dashboards.empty_on_the_demo import EMPTY_ON_THE_DEMO
from tests.dashboards.pages import NAMES, dashboard
from tests.dashboards.panels import Value, panel_queries, substitute, variable_queries
from tests.metrics_page import replicas_of
from tests.programs import free_port
from tests.prometheus_server import Sample, start_prometheus

OWNER = 'cluster="c1",cost_center="cc-1",team="vision",namespace="ml"'
ENTRY = f'{OWNER},sku="h100",kind="held"'
IDLE = 'cluster="c1",cost_center="platform:idle",team="",namespace="",sku="h100",kind="free"'
KEY = f'{OWNER},resourcequota="gpus",resource="requests.nvidia.com/gpu"'

PAGE = f"""\
chargeback_cost{{period="month",{ENTRY},currency="EUR"}} 12.5
chargeback_cost{{period="month",{IDLE},currency="EUR"}} 3.5
chargeback_gpu_seconds{{period="month",{ENTRY}}} 27000
chargeback_gpu_seconds{{period="month",{IDLE}}} 9000
chargeback_quota_hard{{{KEY},enforced="true"}} 8
chargeback_quota_used{{{KEY},enforced="true"}} 6
chargeback_quota_counted{{{KEY},enforced="true"}} 1
chargeback_quota_refusals{{{KEY}}} 1
chargeback_quota_waiting_pods{{{OWNER}}} 1
chargeback_unmetered_devices{{cluster="c1",node="n2"}} 1
chargeback_unmetered_pods{{cluster="c1",node="n2"}} 1
chargeback_meter_difference_seconds{{cluster="c1",kind="missed"}} 1
chargeback_problems{{cluster="c1",kind="unplaced"}} 1
chargeback_last_push_timestamp_seconds{{cluster="c1",node="n1"}} {time.time() - 3600}
chargeback_last_push_timestamp_seconds{{cluster="c1",node="gone"}} 1000
gpu_power_watts{{uuid="GPU-1",gpu="0",model="H100",node="n1",mig_profile="",parent_uuid=""}} 300
"""


Ask = Callable[[str], list[Sample]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks of the instant at which both replicas had been scraped: a later scrape that fails changes nothing."""
    with ExitStack() as running:
        addresses = running.enter_context(replicas_of(PAGE, 2))
        jobs = [{"job_name": "chargeback", "honor_labels": True, "static_configs": [{"targets": addresses}]}]
        settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
        folder = tmp_path_factory.mktemp("replicas") / "prometheus"
        server = running.enter_context(start_prometheus(folder, free_port(), settings))
        (found,) = server.wait_for("vector(time()) and count(gpu_power_watts) == 2")
        yield partial(server.query, at_s=found.value)


def shown(ask: Ask, name: str, choice: Mapping[str, Value] | None = None) -> dict[str, list[float]]:
    """The numbers of the first query of each panel."""
    found: dict[str, list[float]] = {}
    for query in panel_queries(dashboard(name), choice):
        found.setdefault(query.panel, [sample.value for sample in ask(query.expr)])
    return found


def test_money_time_and_quotas_are_shown_once(ask: Ask) -> None:
    page = shown(ask, "chargeback")
    assert page["Cost this month"] == [12.5]
    assert page["Cost, ${period:text}"] == [12.5]
    assert page["Idle, ${period:text}"] == [3.5]
    assert page["GPU-hours, ${period:text}"] == [7.5]
    assert page["Nobody's share, ${period:text}"] == [0.25]
    assert page["Cost last month"] == []  # no line is no number, and not a zero
    assert shown(ask, "quotas")["Quota saturation"] == [0.75]
    assert shown(ask, "fleet")["Power"] == [300]
    service = shown(ask, "service")
    assert service["Push age of the 20 stalest nodes"][0] > 1_000_000
    assert service["Silent agents"] == [1]  # one that is gone for days is none


def test_a_choice_narrows_what_it_is_about_and_nothing_else(ask: Ask) -> None:
    other = shown(ask, "chargeback", {"cost_center": "cc-2"})
    assert other["Cost this month"] == []
    assert other["Idle, ${period:text}"] == [3.5]  # nobody's time belongs to no cost center
    past = shown(ask, "chargeback", {"period": "last_month"})
    assert past["Cost, ${period:text}"] == []
    assert past["Cost this month"] == [12.5]


def test_a_chosen_cluster_does_not_hide_agents_whose_scrape_names_none(ask: Ask) -> None:
    assert shown(ask, "fleet", {"cluster": "c1"})["Power"] == [300]
    assert shown(ask, "fleet", {"cluster": "c1", "node": "n2"})["Power"] == []


def test_variables_offer_what_is_there(ask: Ask) -> None:
    offered = {}
    for name, selector, label in variable_queries(dashboard("chargeback")):  # what `label_values` asks for
        samples = ask(f"count by ({label}) ({substitute(selector, {})})")
        offered[name] = {sample.labels[label] for sample in samples if label in sample.labels}
    assert offered == {"cluster": {"c1"}, "cost_center": {"cc-1"}, "team": {"vision"}, "namespace": {"ml"}}


def test_what_the_demo_cannot_show_is_shown_where_it_is_told(ask: Ask) -> None:
    """Every panel that is empty there, once for both replicas."""
    seen = set()
    for name in NAMES:
        title = dashboard(name)["title"]
        for query in panel_queries(dashboard(name)):
            place = (title, query.panel, query.legend)
            if place in EMPTY_ON_THE_DEMO:
                seen.add(place)
                assert [sample.value for sample in ask(query.expr)] == [1.0], place
    assert seen == EMPTY_ON_THE_DEMO.keys()
