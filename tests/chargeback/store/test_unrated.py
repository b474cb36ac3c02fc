"""A node-hour that cannot be rated is set aside, loudly, and keeps no other from it."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import update

from chargeback.core.hours import HOUR_MS
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of
from chargeback.store.problems import ProblemRow, problems_since
from chargeback.store.tables import node_hour_bodies
from chargeback.tasks.close_hours import RETRY_MS, close_due
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, holding, key_of, put, start_ms

LATER_MS = start_ms(HOUR + 2)


def test_one_that_fails_does_not_stop_the_others(ledger: Database, caplog: pytest.LogCaptureFixture) -> None:
    """One body that a disk has damaged."""
    poisoned = body("n1", holdings=[holding()])
    for sent in (poisoned, body("n2", holdings=[holding()])):
        assert put(ledger, sent)
    with ledger.write() as connection:
        connection.execute(update(node_hour_bodies).where(node_hour_bodies.c.node == "n1").values(body=b"damaged"))
    with caplog.at_level(logging.ERROR):
        assert close_due(ledger, LATER_MS, GRACE_MS) == 2
    assert "node-hour not rated" in caplog.text
    with ledger.read() as connection:
        assert lines_of(connection, [key_of(poisoned)]) == []
        assert lines_of(connection, [key_of(body("n2"))]) != []
        (problem,) = problems_since(connection, HOUR)
    assert isinstance(problem, ProblemRow)
    assert (problem.cluster, problem.kind, problem.ms) == (CLUSTER, "unrated", HOUR_MS)
    assert problem.subject.startswith("error: Error -3")
    assert close_due(ledger, LATER_MS + 1, GRACE_MS) == 0  # not at once again
    mended = body("n1", seq=2, holdings=[holding()])
    assert put(ledger, mended)
    assert close_due(ledger, LATER_MS + RETRY_MS, GRACE_MS) >= 1
    with ledger.read() as connection:
        assert lines_of(connection, [key_of(mended)]) != []
        assert problems_since(connection, HOUR) == []
