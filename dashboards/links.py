"""Where a page leads: to its sisters, the program's own page, the runbook; and from a table's cell to a sister page.

Where the program's page and the runbook are, only who installs them knows. Both are text boxes at the top of each
dashboard: `?var-page=…` in a link or another default in `variables.py` sets them, and an import asks nothing.
"""

from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.models.dashboard import DashboardLink, DashboardLinkType

TAG = "gpu-chargeback"

CHARGEBACK_UID = "gpu-chargeback"
QUOTAS_UID = "gpu-chargeback-quotas"
FLEET_UID = "gpu-chargeback-fleet"
NAMESPACE_UID = "gpu-chargeback-namespace"
SERVICE_UID = "gpu-chargeback-service"

# What a link carries to the next page beside the cell that was clicked.
_CARRIED = (
    "${datasource:queryparam}&${cluster:queryparam}&${page:queryparam}&${runbook:queryparam}&${__url_time_range}"
)


@dataclass(frozen=True, slots=True)
class _Link:
    """The SDK asks for builders; its own puts links into a menu that older Grafanas do not have."""

    link: DashboardLink

    def build(self) -> DashboardLink:
        self.link.placement = None
        return self.link


def page_links() -> list[_Link]:
    """At the top of every page."""
    sisters = DashboardLink(
        title="GPU dashboards",
        type_val=DashboardLinkType.DASHBOARDS,
        icon="external link",
        tags=[TAG],
        as_dropdown=True,
        include_vars=True,
        keep_time=True,
    )
    return [
        _Link(sisters),
        _outside("Bill", "The month as the ledger has it, to the micro, and its CSV", "${page:raw}/"),
        _outside("Runbook", "What each alert means and how to mend it", "${runbook:raw}"),
    ]


def cell_link(title: str, uid: str, variable: str) -> dict[str, Any]:
    """From a cell to the page `uid`, on which `variable` is what the cell says."""
    return {"title": title, "url": f"/d/{uid}?var-{variable}=${{__value.raw:percentencode}}&{_CARRIED}"}


def month_link() -> dict[str, Any]:
    """From a cell that says a month to that month on the program's page."""
    return {"title": "This month's bill", "url": "${page:raw}/?month=${__value.raw}", "targetBlank": True}


def _outside(title: str, tooltip: str, url: str) -> _Link:
    return _Link(
        DashboardLink(
            title=title,
            type_val=DashboardLinkType.LINK,
            icon="external link",
            tooltip=tooltip,
            url=url,
            target_blank=True,
        )
    )
