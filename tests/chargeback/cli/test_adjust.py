"""`chargeback adjust`: sums and waivers from the command line, shown before they are made, listed, withdrawn."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.changes import to_be_rated
from chargeback.cli.listing import now_ms
from chargeback.cli.main import main
from chargeback.core.hours import format_instant
from chargeback.core.lines import Line
from chargeback.store.audit import entries
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.ledger import lines_of_month
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.a_month import HOUR
from tests.chargeback.store.bodies import GRACE_MS, body, gpu, holding, put, start_ms
from tests.chargeback.store.closing import put_month
from tests.chargeback.store.conftest import begin

LATER_MS = start_ms(HOUR + 1) + GRACE_MS
SPAN = ("--from", format_instant(start_ms(HOUR)), "--until", format_instant(start_ms(HOUR) + 1_800_000))
WHY = ("--reason", "fabric manager", "--ticket", "OPS-20", "--who", "jo")
OF_A = ("--scope", "cost-center=cc-a")


@pytest.fixture
def ledger(tmp_path: Path) -> Database:
    """Two nodes with a card each for an hour: alpha holds the one, beta the other."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    begin(database)
    for node, namespace in (("n1", "alpha"), ("n2", "beta")):
        held = holding(f"GPU-{node}", namespace=namespace)
        put(database, body(node, HOUR, gpus=[gpu(f"GPU-{node}")], holdings=[held]))
    close_all(database, LATER_MS, 0)
    return database


def adjust(database: Database, *arguments: str) -> Result:
    url = database.engine.url.render_as_string()
    return CliRunner().invoke(main, ["adjust", *arguments, "--database", url])


def rate_all(database: Database) -> None:
    """By the clock, as the commands do."""
    close_all(database, now_ms(), 0)


def month(database: Database, name: str = "2024-10") -> list[Line]:
    """Of that hour: later ones, in which the nodes are silent, are nothing to us."""
    with database.read() as connection:
        return [line for line in lines_of_month(connection, name) if line.hour == HOUR]


def amounts(lines: list[Line]) -> dict[str, int]:
    """Micros by account."""
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.account] = sums.get(line.account, 0) + (line.amount_micros or 0)
    return {account: micros for account, micros in sums.items() if micros}


def test_a_credit_is_shown_then_made(ledger: Database) -> None:
    """The dry run stores nothing and says the same postings."""
    before = month(ledger)
    arguments = ("credit", *SPAN, *OF_A, *WHY, "--amount", "1.25")
    would = adjust(ledger, *arguments, "--dry-run")
    assert would.exit_code == 0, would.output
    assert month(ledger) == before
    did = adjust(ledger, *arguments)
    assert did.exit_code == 0, did.output
    first, _, rows = did.stdout.partition("\n")
    assert first == "credit of cluster=lab,cost-center=cc-a: is posted as adjustment-1 in 2024-10, in USD"
    assert rows == would.stdout.partition("\n")[2]
    assert amounts(month(ledger)) == {"cc-a": 1_750_000, "cc-b": 1_500_000, "platform:discount": 2_750_000}


def test_a_debit_of_a_closed_month_is_posted_in_the_next(ledger: Database) -> None:
    put_month(ledger, "2024-10")
    did = adjust(ledger, "debit", *SPAN, *OF_A, *WHY, "--amount", "2", "--output", "json")
    assert json.loads(did.stdout) == [
        {"posted_in": "2024-11", "account": "cc-a", "kind": "debit", "amount": "2.000000"},
        {"posted_in": "2024-11", "account": "platform:discount", "kind": "credit", "amount": "-2.000000"},
    ]
    assert amounts(month(ledger, "2024-11")) == {"cc-a": 2_000_000, "platform:discount": -2_000_000}


def test_an_outage_takes_half_an_hour_off_one_node(ledger: Database) -> None:
    """Said beforehand, rated afterwards; what others pay stays to the micro."""
    arguments = ("outage", *SPAN, "--scope", "cluster=lab,node=n1", *WHY)
    would = adjust(ledger, *arguments, "--dry-run", "--output", "csv")
    assert would.exit_code == 0, would.output
    rows = list(csv.DictReader(io.StringIO(would.stdout, newline="")))
    assert [(row["account"], row["amount_before"], row["amount_difference"]) for row in rows] == [
        ("cc-a", "3.000000", "-1.500000"),
        ("platform:discount", "1.500000", "1.500000"),
    ]
    others = [line for line in month(ledger) if line.node == "n2"]
    did = adjust(ledger, *arguments, "--output", "json")
    assert did.stderr == "adjustment-1: outage of cluster=lab,node=n1; " + to_be_rated(1) + "\n"
    assert json.loads(did.stdout) == json.loads(adjust(ledger, "list", "--output", "json").stdout)
    rate_all(ledger)
    assert amounts(month(ledger)) == {"cc-a": 1_500_000, "cc-b": 1_500_000, "platform:discount": 3_000_000}
    assert [line for line in month(ledger) if line.node == "n2"] == others
    assert adjust(ledger, "withdraw", "1", "--reason", "wrong node", "--who", "jo").exit_code == 0
    rate_all(ledger)
    assert amounts(month(ledger)) == {"cc-a": 3_000_000, "cc-b": 1_500_000, "platform:discount": 1_500_000}


def test_nonbillable_time_of_a_closed_month_is_corrected(ledger: Database) -> None:
    """The closed month stays; the dry run says where the difference is posted, and that is what happens."""
    put_month(ledger, "2024-10")
    before = month(ledger)
    arguments = ("nonbillable", *SPAN, "--scope", "namespace=beta", *WHY)
    would = adjust(ledger, *arguments, "--dry-run", "--output", "csv")
    posted = [row for row in csv.DictReader(io.StringIO(would.stdout, newline="")) if row["posted_in"]]
    assert [(row["posted_in"], row["corrects"], row["account"], row["amount_after"]) for row in posted] == [
        ("2024-11", "2024-10", "cc-b", "-0.750000"),
        ("2024-11", "2024-10", "platform:discount", "0.750000"),
    ]
    assert adjust(ledger, *arguments).exit_code == 0
    rate_all(ledger)
    assert month(ledger) == before
    assert amounts(month(ledger, "2024-11")) == {"cc-b": -750_000, "platform:discount": 750_000}


def test_list_and_withdraw(ledger: Database) -> None:
    """All that was made is listed, whatever became of it, and noted with who and why."""
    adjust(ledger, "credit", *SPAN, *OF_A, *WHY, "--amount", "1.25")
    adjust(ledger, "outage", *SPAN, "--scope", "node=n1", "--scope", "gpu=GPU-n1", *WHY)
    said = adjust(ledger, "withdraw", "1", "--reason", "typed twice", "--who", "mo")
    assert said.stdout == "adjustment-1: credit withdrawn; its lines of 2024-10 are gone\n"
    rows = json.loads(adjust(ledger, "list", "--output", "json").stdout)
    assert [(row["number"], row["kind"], row["scope"], row["amount"], row["posted_in"]) for row in rows] == [
        (1, "credit", "cluster=lab,cost-center=cc-a", "1.250000", "2024-10"),
        (2, "outage", "node=n1,gpu=GPU-n1", None, None),
    ]
    assert [bool(row["withdrawn"]) for row in rows] == [True, False]
    assert "OPS-20" in adjust(ledger, "list").stdout
    with ledger.read() as connection:
        noted = [(entry.action, entry.who, entry.why) for entry in entries(connection, "adjustment-1")]
    assert noted == [("adjust credit", "jo", "fabric manager"), ("withdraw credit", "mo", "typed twice")]


def test_a_withdrawn_sum_of_a_closed_month_says_where_its_opposite_is(ledger: Database) -> None:
    adjust(ledger, "credit", *SPAN, *OF_A, *WHY, "--amount", "1.25")
    put_month(ledger, "2024-10")
    said = adjust(ledger, "withdraw", "1", "--reason", "typed twice")
    assert said.stdout == "adjustment-1: credit withdrawn; its opposite is posted in 2024-11\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("credit", *SPAN, *OF_A, *WHY), "Missing option '--amount'"),
        (("credit", *SPAN, *OF_A, *WHY, "--amount", "0"), "'--amount': '0': want more than 0"),
        (("credit", *SPAN, *OF_A, *WHY, "--amount", "-1"), "'--amount': '-1': want more than 0"),
        (("credit", *SPAN, *OF_A, *WHY, "--amount", "1.0000001"), "'1.0000001': want more than 0, with at most six"),
        (("credit", *SPAN, *OF_A, *WHY, "--amount", "1e3"), "'1e3': want a plain decimal"),
        (("outage", *SPAN, *OF_A, *WHY, "--amount", "1"), "No such option '--amount'"),
        (("outage", *SPAN, *OF_A, *WHY[2:]), "Missing option '--reason'"),
        (("outage", *SPAN, *OF_A, *WHY[:2]), "Missing option '--ticket'"),
        (("outage", *SPAN, *OF_A, *WHY, "--reason", " "), "--reason: ' ': want a text"),
        (("outage", *SPAN, *OF_A, *WHY, "--ticket", ""), "--ticket: '': want a text"),
        (("outage", *SPAN, *WHY), "Missing option '--scope'"),
        (("outage", *SPAN, *WHY, "--scope", "nod=n1"), "--scope: 'nod=n1': want one of cluster=NAME, node=NAME"),
        (("outage", *SPAN, *WHY, "--scope", "cost_center=cc-a"), "--scope: 'cost_center=cc-a': want one of"),
        (("outage", *SPAN, *WHY, "--scope", "node="), "--scope: 'node=': want a name after node="),
        (("outage", *SPAN, *WHY, "--scope", "node=n1,node=n2"), "--scope: 'node=n2': node is 'n1' already"),
        (
            ("outage", *SPAN, *WHY, "--scope", "node=n9,team=x"),
            "--scope: node=n9: was never seen\n--scope: team=x: was",
        ),
        (("outage", *SPAN, *WHY, "--scope", "cluster=moon"), "--scope: cluster=moon: want one of lab"),
        (("outage", *SPAN, *WHY, "--scope", "gpu=GPU-9"), "--scope: gpu=GPU-9: was never seen"),
        (("credit", *SPAN, *WHY, "--amount", "1", "--scope", "team=red"), "--scope: cost-center= is missing"),
        (
            ("credit", *SPAN, *WHY, "--amount", "1", "--scope", "cost-center=cc-a,node=n1"),
            "--scope: node=n1: not of a sum",
        ),
        (("outage", "--from", "2024-10-03", "--until", "2024-10-03", *OF_A, *WHY), "--until: '2024-10-03': want an"),
        (("outage", "--from", "now", "--until", "2024-10-03", *OF_A, *WHY), "'--from': 'now': want an instant"),
        (("withdraw", "7", "--reason", "why not"), "NUMBER: 7: there is no such adjustment"),
    ],
)
def test_wrong_use(ledger: Database, arguments: tuple[str, ...], said: str) -> None:
    """The option is named, with what was seen and what is wanted; nothing is made."""
    ended = adjust(ledger, *arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert json.loads(adjust(ledger, "list", "--output", "json").stdout) == []
