"""Names that differ only by case and separator are shown together, and others are not."""

from __future__ import annotations

from chargeback.core.owners.lookalikes import look_alikes


def test_names_that_differ_by_case_or_separator_look_alike() -> None:
    assert look_alikes(["rd-001", "RD_001", "b", "rd_001", "B", "rd-001"]) == [
        ["B", "b"],
        ["RD_001", "rd-001", "rd_001"],
    ]


def test_names_that_are_others_do_not() -> None:
    """Digits and letters count, and so does whether there is a separator."""
    assert look_alikes(["rd-1-12", "rd-11-2", "rd-112", "rd", "rd-", "team-1", "team-2"]) == []
