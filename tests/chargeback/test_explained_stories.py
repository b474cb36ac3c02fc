"""Law 7, end to end: whatever happened to a ledger, every line of it can be explained."""

from __future__ import annotations

import json

from hypothesis import given

from chargeback.core.explaining.explaining import as_json
from chargeback.core.lines import CREDIT, DEBIT, REVERSAL, TRANSFER
from chargeback.explaining.explain import explain
from chargeback.explaining.text import explanation_text
from tests.chargeback.ledger_checks import all_lines
from tests.chargeback.ledger_drawn import stories
from tests.chargeback.ledger_story import Story
from tests.chargeback.test_ledger_laws import NewLedger, on_sqlite, told

__all__ = ["on_sqlite"]

# Of these there is no arithmetic of a slot.
SUMS = frozenset({TRANSFER, CREDIT, DEBIT})


@told
@given(story=stories())
def test_whatever_happened_every_line_is_explained(on_sqlite: NewLedger, story: Story) -> None:
    """Its arithmetic, worked out anew, comes to its very amounts. What rating gives no more is corrected, or due."""
    ledger = on_sqlite(story)
    for step in story.steps:
        ledger.tell(step)
    lines = all_lines(ledger.database)
    corrected = {line.corrects for line in lines if line.part == REVERSAL}
    for line in {(line.kind, line.part, line.month, line.node): line for line in lines}.values():
        found = explain(ledger.database, line.line_id)
        said = as_json(found)
        assert explanation_text(found).startswith(found.title)
        json.dumps(said)
        if line.part != REVERSAL and line.amount_micros is not None and line.kind not in SUMS:
            working = [said["amount"][f"{name}_arithmetic"]["micros"] for name in ("amount", "list_amount")]
            assert working == [line.amount_micros, line.list_micros]
        if line.line_id not in corrected and line.kind != TRANSFER:
            assert found.reproduced or "due to be rated again" in found.why, found.why
