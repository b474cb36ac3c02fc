"""The laws of exports find what breaks them."""

from __future__ import annotations

import csv
import io

import pytest

from tests.proof.replay.laws import misgiven, rows, unbalanced, without_sums

GIVEN = (
    {"kind": "credit", "cost_center_id": "cc", "list_amount": "0.000000", "amount": "-0.000007"},
    {"kind": "debit", "cost_center_id": "platform:discount", "list_amount": "0.000000", "amount": "0.000007"},
)
HELD = {"kind": "held", "cost_center_id": "cc", "list_amount": "1.500000", "amount": "1.500000"}
Row = dict[str, str]


def export(*found: Row) -> str:
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, ["kind", "cost_center_id", "list_amount", "amount", "corrects_period"])
    table.writeheader()
    table.writerows({"corrects_period": "", **each} for each in found)
    return file.getvalue()


def test_a_month_balances() -> None:
    assert list(unbalanced("2026-11", export(HELD, *GIVEN))) == []
    (found,) = unbalanced("2026-11", export(HELD, GIVEN[0]))
    assert found == "2026-11: 1.499993 is charged in all, and 1.500000 listed"


def test_what_was_given_back_is_beside_the_bill() -> None:
    left, given = without_sums(export(HELD, *GIVEN))
    assert [row["kind"] for row in rows(left)] == ["held"]
    assert [row["kind"] for row in given] == ["credit", "debit"]
    assert list(misgiven(given, "cc", 7, "")) == []


@pytest.mark.parametrize(
    "given",
    [
        GIVEN[:1],
        (GIVEN[0] | {"cost_center_id": "cc-2"}, GIVEN[1]),
        (GIVEN[0] | {"amount": "-0.000008"}, GIVEN[1]),
        (GIVEN[0], GIVEN[1] | {"corrects_period": "2026-10"}),
        (GIVEN[0], GIVEN[1] | {"list_amount": "0.000001"}),
        (*GIVEN, GIVEN[0]),
    ],
)
def test_what_was_given_back_wrongly_is_found(given: tuple[Row, ...]) -> None:
    found = [{"corrects_period": "", **each} for each in given]
    assert len(list(misgiven(found, "cc", 7, ""))) == 1
