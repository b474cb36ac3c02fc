"""Every line can be explained: law 7."""

from __future__ import annotations

import json

import pytest

from chargeback.core.explaining import as_json
from chargeback.core.lines import CHARGE, RESTATED, REVERSAL, UNPRICED
from chargeback.core.money import format_micros
from chargeback.explain import explain
from chargeback.explain_text import explanation_text
from chargeback.store.database import Database
from tests.chargeback.store.every_kind import KINDS, NOW_MS, all_lines, fill


@pytest.fixture
def filled(database: Database) -> Database:
    fill(database)
    return database


def test_every_line_of_every_kind_is_explained(filled: Database) -> None:
    """Each is what rating gives again, or says what is posted instead; each arithmetic comes to the very amount."""
    lines = all_lines(filled)
    assert {line.kind for line in lines} >= KINDS
    assert {line.part for line in lines} == {CHARGE, REVERSAL, RESTATED}
    corrected = {line.corrects for line in lines if line.part == REVERSAL}
    for line in lines:
        found = explain(filled, line.line_id, NOW_MS)
        said = as_json(found)
        assert (found.reproduced is True) == (line.line_id not in corrected), (line, found.why)
        amount = said["amount"].get("amount")
        assert amount == (None if line.amount_micros is None else format_micros(line.amount_micros))
        working = [said["amount"].get(f"{name}_arithmetic") for name in ("amount", "list_amount")]
        if line.part != REVERSAL and line.account != UNPRICED and line.kind not in ("transfer", "credit", "debit"):
            assert [each and each["micros"] for each in working] == [line.amount_micros, line.list_micros], (
                line,
                said,
            )
        text = explanation_text(found)
        assert text.startswith(found.title)
        assert f"reproduced: {'yes' if found.reproduced else 'no'}" in text
        assert "None" not in text
        json.dumps(said)
