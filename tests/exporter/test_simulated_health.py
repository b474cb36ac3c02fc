"""The health that a simulated card shows."""

from __future__ import annotations

from exporter.scenario import load_scenario
from exporter.simulated_health import card_health

TEXT = """
gpus:
  - {model: NVIDIA H100 80GB HBM3, memory_mib: 81559}
  - {model: NVIDIA H100 80GB HBM3, memory_mib: 81559, mig: [1g.10gb]}
"""
WHOLE, CUT = load_scenario(TEXT, "lab.yaml").cards


def test_a_card_is_sound() -> None:
    health = card_health(WHOLE, 0.5)
    assert (health.ecc_corrected, health.ecc_uncorrected, health.remap_failed) == (0, 0, False)
    assert health.power_limit_watts == 700
    assert health.throttled == {"power_cap": False, "hw_thermal": False}


def test_a_card_at_its_busiest_is_slowed_by_its_power_limit() -> None:
    assert card_health(WHOLE, 0.95).throttled == {"power_cap": True, "hw_thermal": False}


def test_rows_are_unknown_while_a_card_has_mig_instances() -> None:
    health = card_health(CUT, 0.5)
    assert (health.rows_remapped_uncorrected, health.remap_pending, health.remap_failed) == (None, None, None)
    assert health.ecc_uncorrected == 0
