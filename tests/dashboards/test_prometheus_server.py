"""The test server itself: it scrapes, keeps our labels or puts them back, loads rules, and answers."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from dashboards.prometheus_rules import rule_files
from tests.metrics_page import replicas_of
from tests.programs import free_port
from tests.prometheus_server import PrometheusServer, QueryRefused, Sample, scrape_settings, start_prometheus

OWNER = 'cluster="c1",cost_center="cc-1",team="vision",namespace="ml"'
ENTRY = f'{OWNER},sku="h100",kind="held"'
IDLE = 'cluster="c1",cost_center="platform:idle",team="",namespace="",sku="h100",kind="free"'
QUOTA = f'{OWNER},resourcequota="gpus",resource="requests.nvidia.com/gpu",enforced="true"'

PAGE = f"""\
chargeback_cost{{period="month",{ENTRY},currency="EUR"}} 12.5
chargeback_cost{{period="month",{IDLE},currency="EUR"}} 3.5
chargeback_gpu_seconds{{period="month",{ENTRY}}} 27000
chargeback_gpu_seconds{{period="month",{IDLE}}} 9000
chargeback_quota_hard{{{QUOTA}}} 8
chargeback_quota_used{{{QUOTA}}} 6
chargeback_last_push_timestamp_seconds{{cluster="c1",node="n1"}} 1000
"""


Servers = list[tuple[PrometheusServer, Callable[[str], list[Sample]]]]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Two that scrape one page twice, as if two replicas served it: honouring our labels, and putting them back.

    Each with what asks it of the instant at which both had been scraped: a later scrape that fails changes nothing.
    """
    folder = tmp_path_factory.mktemp("prometheus")
    with replicas_of(PAGE, 2) as addresses:
        targets = {"chargeback": addresses}
        honouring = scrape_settings(targets, rule_files(), honor_labels=True)
        relabelling = scrape_settings(targets, rule_files(), honor_labels=False)
        with (
            start_prometheus(folder / "honouring", free_port(), honouring) as one,
            start_prometheus(folder / "relabelling", free_port(), relabelling) as other,
        ):
            found = []
            for server in (one, other):
                (at,) = server.wait_for("vector(time()) and count(chargeback_last_push_timestamp_seconds) == 2")
                found.append((server, partial(server.query, at_s=at.value)))
            yield found


def test_it_scrapes_keeps_our_labels_loads_rules_and_refuses_bad_questions(servers: Servers) -> None:
    (server, ask), _ = servers
    assert [sample.value for sample in ask("up")] == [1, 1]
    names = {rule["name"] for rule in server.rules()}
    assert names > {"GpuQuotaAlmostFull", "GpuMissing", "quota:chargeback_quota_used_per_hard:ratio"}
    assert [sample.labels["namespace"] for sample in ask("chargeback_quota_used")] == ["ml", "ml"]
    with pytest.raises(QueryRefused, match="parse error"):
        server.query("sum(")


def test_relabelling_as_documented_gives_what_honouring_our_labels_gives(servers: Servers) -> None:
    """Series by series, labels and all: with a namespace of ours, with an empty one, and with none of ours."""
    honoured, relabelled = (
        {frozenset(sample.labels.items()) for sample in ask('{__name__=~"chargeback_.+"}')} for _, ask in servers
    )
    assert len(honoured) == 2 * PAGE.count("\n")
    assert relabelled == honoured
