"""Values that are made by the million, and how variants of them are made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chargeback.core.values import value, variant_maker


@value
class Point:
    x: int
    y: int
    label: str = ""


def test_a_variant_is_what_replace_makes() -> None:
    """And the value that it is made of stays as it was."""
    make = variant_maker(Point, ("label", "y"))
    old = Point(x=1, y=2, label="old")
    assert make(old, "new", 5) == replace(old, label="new", y=5) == Point(x=1, y=5, label="new")
    assert old == Point(x=1, y=2, label="old")


def test_a_field_that_is_not_there_is_a_defect_of_the_caller() -> None:
    """Found when the maker is made, not when it is used."""
    with pytest.raises(AssertionError, match="colour"):
        variant_maker(Point, ("x", "colour"))
