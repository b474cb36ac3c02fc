"""What the ledger's gauges come to, by Prometheus' own judge: also where a series is not there."""

from pathlib import Path

from dashboards import queries as q
from tests.dashboards.panels import substitute
from tests.dashboards.test_device_queries import judge, needs_promtool

IDLE = 'chargeback_gpu_seconds{period="month",cluster="c1",cost_center="platform:idle",kind="free"}'
HELD = 'chargeback_gpu_seconds{period="month",cluster="c1",cost_center="cc-1",kind="held"}'


def used(resourcequota: str, count: int, hard: int) -> dict[str, str]:
    labels = f'cluster="c1",namespace="ml",resourcequota="{resourcequota}",resource="requests.nvidia.com/gpu"'
    return {
        f"chargeback_quota_used{{{labels}}}": str(count),
        f"chargeback_quota_hard{{{labels}}}": str(hard),
    }


def comes_to(folder: Path, expr: str, series: dict[str, str], value: float | None) -> None:
    """None: there is no number."""
    samples = [] if value is None else [{"labels": "{}", "value": value}]
    judge(folder, 60, series, [{"expr": substitute(expr, {}), "eval_time": "0s", "exp_samples": samples}])


@needs_promtool
def test_where_all_time_is_cost_centers_nobodys_share_is_zero(tmp_path: Path) -> None:
    comes_to(tmp_path, q.platform_share("month"), {HELD: "30", IDLE: "10"}, 0.25)
    comes_to(tmp_path, q.platform_share("month"), {HELD: "30"}, 0)
    comes_to(tmp_path, q.platform_share("month"), {}, None)


@needs_promtool
def test_the_quotas_that_are_almost_full_are_those_that_the_alert_is_about(tmp_path: Path) -> None:
    """By ratio; of at most ten, by what is left."""
    quotas = (
        used("a", 19, 20) | used("b", 3, 4)
        | used("full", 4, 4) | used("over", 5, 4) | used("half", 2, 4)
        | used("nine tenths", 18, 20) | used("unused", 0, 1) | used("none allowed", 0, 0)
    )  # fmt: skip
    comes_to(tmp_path, q.quotas_almost_full(), quotas, 2)
    comes_to(tmp_path, q.quotas_almost_full(), used("full", 4, 4), 0)
    comes_to(tmp_path, q.quotas_almost_full(), {}, None)
