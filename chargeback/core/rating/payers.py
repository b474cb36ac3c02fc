"""Who pays for what a pod holds at an instant, and as which tier."""

from __future__ import annotations

from dataclasses import dataclass

from chargeback.core.lines import UNATTRIBUTED, UNOWNED
from chargeback.core.owners.owners import OwnerBook
from chargeback.core.pods import OwnerLabels
from chargeback.core.prices.book import PriceBook
from chargeback.core.rating.dimensions import Labels, laid_over


@dataclass(frozen=True, slots=True)
class Payer:
    """account: where it is posted; the rest as in a line."""

    account: str
    cost_center: str | None
    team: str | None
    tier: str | None
    owner_version: int | None
    dimensions: Labels


NOBODY = Payer(UNATTRIBUTED, None, None, None, None, ())


def payer(
    owners: OwnerBook, prices: PriceBook, namespace: str, said: OwnerLabels, priority_class: str | None, at_ms: int
) -> Payer:
    """Field by field as the pod's own labels say, else as its namespace does. namespace: empty for nobody known.

    The tier that prices give the pod's PriorityClass stands between the two.
    """
    if not namespace:
        return NOBODY
    owner = owners.at(namespace, at_ms)
    tier = said.tier or (prices.tier_of_class(priority_class, at_ms) if priority_class else None)
    if owner is None:
        return Payer(said.cost_center or UNOWNED, said.cost_center, said.team, tier, None, said.dimensions)
    cost_center = said.cost_center or owner.cost_center
    return Payer(
        cost_center or UNOWNED,
        cost_center,
        said.team or owner.team,
        tier or owner.tier,
        owner.version,
        laid_over(owner.dimensions, said.dimensions),
    )
