"""A page from its sections: rows, panels on a grid that is 24 wide, variables and links. Every dashboard is made
here, so all of them have the same manners."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models.dashboard import Dashboard as DashboardModel

from dashboards.links import TAG, page_links
from dashboards.variables import link_variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A panel and its size. Panels of one line have one height."""

    panel: Any
    width: int
    height: int


Section = Callable[[], Iterator[Placed]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A dashboard before it is built.

    uid        stays for ever: links and bookmarks hang on it
    time_from  how far back lines go at first
    sections   rows in the order of the page, each by its title
    """

    uid: str
    title: str
    description: str
    time_from: str
    variables: Callable[[], Iterable[Any]]
    sections: Mapping[str, Section]

    def build(self) -> DashboardModel:
        """Ids are places in the reading order, so that they are unique and stay put."""
        page = (
            Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags(["gpu", TAG])
            .readonly()
            .refresh("1m")
            .time(self.time_from, "now")
            .timezone("utc")
            .links(page_links())
        )
        for variable in (*self.variables(), *link_variables()):
            page.with_variable(variable)
        number = 0
        for title, section in self.sections.items():
            number += 1
            page.with_row(Row(title).id(number))
            for placed in section():
                number += 1
                page.with_panel(placed.panel.id(number).span(placed.width).height(placed.height))
        return page.build()
