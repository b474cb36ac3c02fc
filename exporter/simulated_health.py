"""The health of a simulated card: sound, and slowed by its power limit when it is at its busiest."""

from __future__ import annotations

from exporter.health import Health
from exporter.simulated_cards import Card

POWER_CAP_RATIO = 0.9  # how busy a card is when its power limit slows it


def card_health(card: Card, busy_ratio: float) -> Health:
    """Rows are not shown as remapped while a card has MIG instances, for then a driver does not say."""
    rows = None if card.mig_enabled else 0
    return Health(
        ecc_corrected=0,
        ecc_uncorrected=0,
        ecc_corrected_ever=0,
        ecc_uncorrected_ever=0,
        rows_remapped_corrected=rows,
        rows_remapped_uncorrected=rows,
        remap_pending=None if card.mig_enabled else False,
        remap_failed=None if card.mig_enabled else False,
        throttled={"power_cap": busy_ratio > POWER_CAP_RATIO, "hw_thermal": False},
        persistence=True,
        power_limit_watts=card.kind.peak_watts,
    )
