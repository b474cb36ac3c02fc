"""Every line can be explained: law 7."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import delete

from chargeback.core.adjustments import WAIVERS
from chargeback.core.explaining.explaining import as_json
from chargeback.core.lines import CHARGE, DISCOUNT_KIND, OUTAGE, RESTATED, REVERSAL, UNPRICED
from chargeback.core.money import format_micros
from chargeback.explaining.explain import NoSuchLine, explain
from chargeback.explaining.text import explanation_text
from chargeback.reports import NoLedger
from chargeback.store.adjustments import adjustments, make_adjustment, withdraw_adjustment
from chargeback.store.database import Database
from chargeback.store.tables import node_hour_bodies
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import GRACE_MS
from tests.chargeback.store.conftest import begin
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
        found = explain(filled, line.line_id)
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


def test_time_that_nobody_pays_for_says_by_whose_word(filled: Database) -> None:
    """The line, and the discount that carries what it would cost, name the adjustment that waives it."""
    waived = [line for line in all_lines(filled) if (line.of_kind or line.kind) in WAIVERS]
    assert {(line.kind, line.of_kind) for line in waived} >= {(kind, "") for kind in WAIVERS}
    assert {line.of_kind for line in waived if line.kind == DISCOUNT_KIND} == set(WAIVERS)
    with filled.read() as connection:
        made = {each.kind: each for each in adjustments(connection)}
    for line in waived:
        kind = line.of_kind or line.kind
        said = as_json(explain(filled, line.line_id))["adjustment"]
        assert (said["number"], said["what"]) == (made[kind].number, {"kind": kind, "amount": None})
        assert (said["because"], said["by"]) == (made[kind].reason, made[kind].who)
    others = [line for line in all_lines(filled) if line.kind in ("held", "free", "faulted")]
    assert all("adjustment" not in as_json(explain(filled, line.line_id)) for line in others)


def test_a_closed_line_names_the_waiver_that_it_was_closed_with(filled: Database) -> None:
    """Withdrawn since, and made anew for less: the closed line, and what takes it back, are of the first."""
    with filled.write() as connection:
        (made,) = (each for each in adjustments(connection) if each.kind == OUTAGE)
        withdraw_adjustment(connection, made.number, "ann", "it was another card", NOW_MS + 1)
    close_all(filled, NOW_MS + 1, GRACE_MS)
    assert _named(filled, OUTAGE) == {(CHARGE, made.number), (REVERSAL, made.number)}
    with filled.write() as connection:
        less = replace(made, recorded_ms=NOW_MS + 2, until_ms=made.until_ms - 1)
        again, _ = make_adjustment(connection, less, "UTC", 1)
    close_all(filled, NOW_MS + 2, GRACE_MS)
    assert _named(filled, OUTAGE) == {(CHARGE, made.number), (REVERSAL, made.number), (RESTATED, again.number)}


def _named(database: Database, kind: str) -> set[tuple[str, int]]:
    """The adjustments of lines of a kind, each with the line's part."""
    lines = [each for each in all_lines(database) if each.kind == kind]
    return {(each.part, as_json(explain(database, each.line_id))["adjustment"]["number"]) for each in lines}


def test_bodies_that_are_no_longer_there_are_said_to_be_gone(filled: Database) -> None:
    """What the ledger keeps is shown; whether rating gives it again cannot be told, and is not claimed."""
    (line,) = [each for each in all_lines(filled) if (each.kind, each.part) == ("cordoned", CHARGE)][:1]
    with filled.write() as connection:
        connection.execute(delete(node_hour_bodies))
    found = explain(filled, line.line_id)
    assert found.reproduced is None
    assert "no longer there, so it cannot be rated again" in explanation_text(found)
    assert as_json(found)["amount"]["amount"] == format_micros(line.amount_micros or 0)


def test_a_ledger_that_has_not_begun_has_no_line(database: Database) -> None:
    with pytest.raises(NoLedger):
        explain(database, "0" * 32)
    begin(database)
    with pytest.raises(NoSuchLine, match="no line has this id"):
        explain(database, "0" * 32)
