"""The PromQL over the ledger's gauges: names and words in, query text out. Nothing here knows a panel.

Two rules hold for every query. A gauge passes through `once` before anything is added up: each
replica of the aggregator, and each overlapping scrape job, exposes the whole ledger, and a plain
`sum` would bill it twice. And money is always grouped by `currency`: amounts of two ledgers in two
currencies must stay two numbers.
"""

# What the viewer picked at the top of the page. All is `.*`, which also matches an absent label.
PICKED_CLUSTER = 'cluster=~"$cluster"'
PICKED = f'{PICKED_CLUSTER},cost_center=~"$cost_center",team=~"$team",namespace=~"$namespace"'

# The accounts that are no cost center. Together, tenants and platform are the whole ledger.
PLATFORM = 'cost_center=~"platform:.*|unowned"'
TENANTS = 'cost_center!~"platform:.*|unowned"'

SECONDS_PER_HOUR = 3600

# Which of the four periods the viewer picked.
PICKED_PERIOD = "$period"


def once(metric: str, *matchers: str) -> str:
    """One sample for each series of ours, however many replicas and jobs expose it."""
    return f"max without (instance, pod, job) ({metric}{{{','.join(matchers)}}})"


def cost(period: str, by: tuple[str, ...] = (), *, where: tuple[str, ...] = (PICKED, TENANTS)) -> str:
    """Money of a period, grouped by `by` and always by currency."""
    return f"sum by ({', '.join((*by, 'currency'))}) ({once('chargeback_cost', _period(period), *where)})"


def gpu_hours(period: str, by: tuple[str, ...] = (), *, where: tuple[str, ...] = (PICKED, TENANTS)) -> str:
    """Whole-card hours of a period: the metric counts seconds, people plan in hours."""
    seconds = once("chargeback_gpu_seconds", _period(period), *where)
    total = f"sum by ({', '.join(by)}) ({seconds})" if by else f"sum({seconds})"
    return f"{total} / {SECONDS_PER_HOUR}"


def platform_share(period: str) -> str:
    """Which part of all card-time nobody's cost center had, from 0 to 1."""
    nobodys = gpu_hours(period, where=(PICKED_CLUSTER, PLATFORM))
    all_of_it = gpu_hours(period, where=(PICKED_CLUSTER,))
    return f"({nobodys} or 0 * {all_of_it}) / ({all_of_it} > 0)"


def budget(figure: str, *matchers: str) -> str:
    """A figure of the selected cost centers' budgets of this month: `budget`, `budget_spent` or `budget_forecast`."""
    value = once(f"chargeback_{figure}", 'cost_center=~"$cost_center"', *matchers)
    return f"sum by (cost_center, currency) ({value})"


def budget_used() -> str:
    """Spent over budgeted. A budget of zero is a prohibition, and has no share."""
    return f"{budget('budget_spent')} / ({budget('budget')} > 0)"


def quota(figure: str, *, by: tuple[str, ...] = (), condition: str = "") -> str:
    """`hard`, `used`, `guaranteed` or `cap` of every quota in sight, with all its labels or with those of `by`."""
    value = once(f"chargeback_quota_{figure}", PICKED) + (f" {condition}" if condition else "")
    return f"max by ({', '.join(by)}) ({value})" if by else value


def quota_saturation(by: tuple[str, ...] = ()) -> str:
    """Used over hard. A hard limit of zero is a prohibition, and has no saturation."""
    return f"{quota('used', by=by)} / ({quota('hard', by=by, condition='> 0')})"


def quota_left(by: tuple[str, ...] = ()) -> str:
    """What the hard limit still allows; negative where a limit was lowered below what is used."""
    return f"{quota('hard', by=by)} - {quota('used', by=by)}"


def quotas_almost_full() -> str:
    """How many quotas GpuQuotaAlmostFull is about, were it to fire at once. Of more than ten, all but one is 0.9."""
    filling = f"{quota_saturation()} > 0.9 or {quota_left()} <= 1"
    return f"count(({filling}) and {quota_left()} > 0 and {quota('used')} > 0) or 0 * count({quota('hard')})"


def push_age_s() -> str:
    """Seconds since each node's agent last pushed."""
    return f"time() - {once('chargeback_last_push_timestamp_seconds', PICKED_CLUSTER)}"


def table_age_s() -> str:
    """Seconds since namespaces, quotas and the like were last read."""
    return f"time() - {once('chargeback_cluster_read_timestamp_seconds', PICKED_CLUSTER)}"


def health(metric: str, by: tuple[str, ...] = ()) -> str:
    """A gauge about the account itself, for the clusters in sight: all its labels, or added up by those of `by`."""
    value = once(metric, PICKED_CLUSTER)
    return f"sum by ({', '.join(by)}) ({value})" if by else value


def month_states() -> str:
    """1 for the state that each month is in."""
    return f"max by (month, state) ({once('chargeback_month_state')}) == 1"


def page_age_s() -> str:
    """Seconds since the aggregator last made the page that is scraped, of the replica that is furthest behind."""
    return "max(time() - max by (cluster, instance) (chargeback_rendered_timestamp_seconds{}))"


def refused_per_hour() -> str:
    """Pushes refused, by the field at fault."""
    return _pushes_per_hour("chargeback_pushes_refused_total", ("status", "field"))


def accepted_per_hour() -> str:
    """Pushes taken, by what became of them."""
    return _pushes_per_hour("chargeback_pushes_accepted_total", ("outcome",))


def _pushes_per_hour(counter: str, by: tuple[str, ...]) -> str:
    """Each replica counts its own: these add up, but not what two jobs scrape of one replica."""
    of_each = f"max by (cluster, instance, {', '.join(by)}) (rate({counter}{{}}[$__rate_interval]))"
    return f"sum by ({', '.join(by)}) ({of_each}) * {SECONDS_PER_HOUR}"


def values_of(label: str, *matchers: str) -> str:
    """The query of a dashboard variable: each value a label has, given what was picked before it.

    Quotas are asked too: a namespace with a quota and no cost yet must be there to pick.
    """
    owned = '__name__=~"chargeback_cost|chargeback_quota_hard"'
    return f"label_values({{{','.join((owned, *matchers))}}}, {label})"


def _period(period: str) -> str:
    return f'period="{period}"'
