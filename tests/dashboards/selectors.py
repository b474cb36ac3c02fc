"""What a query selects: its parts that name a metric."""

from typing import Any

import promql_parser


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Of plain selectors and of those over a range, in the order of the query."""
    found = []

    def note(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expr), note)
    return found


def metric_names(expr: str) -> set[str]:
    return {str(selector.name) for selector in selectors(expr)}
