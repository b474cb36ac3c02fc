"""`chargeback prices` as people use it. docs/prices.md shows the rest."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.changes import to_be_rated
from chargeback.cli.main import main
from chargeback.core.hours import format_instant
from chargeback.core.policy import Policy
from chargeback.store.audit import entries
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.policies import begin_policy
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import GRACE_MS, H100, HOUR, PRICES, body, put, start_ms
from tests.programs import chargeback

RATED_MS = start_ms(HOUR + 1)

Run = Callable[..., Result]


def open_ledger(folder: Path) -> Database:
    database = open_database(sqlite_url(folder / "ledger.db"))
    migrate(database)
    return database


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`chargeback prices` on a ledger that has begun and has no prices; files are where it runs."""
    database = open_ledger(tmp_path)
    with database.write() as connection:
        begin_policy(connection, Policy(), 0)
    database.close()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(PRICES)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["prices", *arguments], env={"CHARGEBACK_DATA": str(tmp_path)})

    return run


def rate_an_hour(folder: Path) -> None:
    database = open_ledger(folder)
    put(database, body())
    close_all(database, RATED_MS + GRACE_MS, GRACE_MS)
    database.close()


def rows(ended: Result) -> Any:
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def test_an_import_says_what_it_made(run: Run) -> None:
    """And importing the same again makes nothing."""
    ended = run("import", "p.yaml", "--who", "ada", "--reason", "the first")
    assert (ended.exit_code, ended.stdout.splitlines()[-1]) == (
        0,
        "p.yaml: version 1; 0 node-hours to be rated again",
    )
    again = run("import", "p.yaml", "--who", "ada")
    assert again.stdout == "p.yaml: is version 1 already; 0 node-hours to be rated again\n"
    found = rows(run("history", "--output", "json"))
    assert {(row["version"], row["who"], row["why"], row["source"]) for row in found} == {
        (1, "ada", "the first", "p.yaml")
    }
    assert (
        found[0]["change"] == "prices: model NVIDIA A100-SXM4-80GB: added: price 2.100000, unit gpu-hour, from ever"
    )


def test_what_rated_hours_cost_needs_force_and_a_reason(run: Run, tmp_path: Path) -> None:
    """A refused import changes nothing; a forced one is in the audit."""
    assert run("import", "p.yaml").exit_code == 0
    rate_an_hour(tmp_path)
    (tmp_path / "q.yaml").write_text(PRICES.replace('price: "3"', 'price: "4"'))
    refused = run("import", "q.yaml", "--reason", "a slip")
    assert refused.exit_code == 2
    assert f"model {H100}: price: 3.000000 becomes 4.000000, from ever: hours are rated until" in refused.stderr
    dry = run("import", "q.yaml", "--dry-run", "--output", "json")
    assert dry.exit_code == 1
    assert [(row["field"], row["needs_force"]) for row in json.loads(dry.stdout)] == [("price", "yes")]
    assert run("import", "q.yaml", "--dry-run", "--force").exit_code == 0
    for reason in ([], ["--reason", " "]):
        without = run("import", "q.yaml", "--force", *reason)
        assert (without.exit_code, "--reason" in without.stderr) == (2, True)
    assert {row["version"] for row in rows(run("history", "--output", "json"))} == {1}
    forced = run("import", "q.yaml", "--force", "--reason", "a slip", "--who", "ada")
    assert forced.stdout.splitlines()[-1] == "q.yaml: version 2; " + to_be_rated(1)
    database = open_ledger(tmp_path)
    with database.read() as connection:
        (noted,) = entries(connection, "price book 2")
    database.close()
    assert (noted.who, noted.why) == ("ada", "a slip")


def test_a_file_that_cannot_be_had_whatever_force(run: Run, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(PRICES.replace("USD", "EUR"))
    (tmp_path / "bad.yaml").write_text("currency: USD\nprices: [{model: X}]\n")
    for name, said in (("e.yaml", "e.yaml: currency: EUR: want USD"), ("bad.yaml", "bad.yaml: prices[0].unit: ''")):
        ended = run("import", name, "--force", "--reason", "must be")
        assert (ended.exit_code, said in ended.stderr) == (2, True)


def test_the_book_in_three_forms(run: Run) -> None:
    """What nobody says has no column in a table; a book that is not there is said."""
    assert "no price book yet" in run("show").stdout
    assert run("import", "p.yaml").exit_code == 0
    table = run("show").stdout
    assert "price book, version 1" in table
    assert "pool" not in table
    found = rows(run("show", "--output", "json"))
    assert [(row["kind"], row["model"], row["tier"], row["price"], row["factor"]) for row in found] == [
        ("price", "NVIDIA A100-SXM4-80GB", None, "2.100000", None),
        ("price", H100, None, "3.000000", None),
        ("tier", None, "best-effort", None, "0.500000"),
    ]
    read = list(csv.DictReader(io.StringIO(run("show", "--output", "csv").stdout, newline="")))
    assert [row["model"] for row in read] == [row["model"] or "" for row in found]
    assert "NVIDIA B200" in run("show", "--default").stdout


def test_what_holds_at_an_instant(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "currency: USD\nprices:\n"
        "  - {model: X, price: 1, unit: gpu-hour, until: 2026-11-01, node_labels: {zone: a, rack: b}}\n"
        "  - {model: X, price: 2, unit: gpu-hour, from: 2026-11-01}\n"
    )
    assert run("import", "p.yaml").exit_code == 0
    for at, price, labels in (("2026-10-31", "1.000000", "rack=b, zone=a"), ("2026-11-01", "2.000000", None)):
        (row,) = rows(run("show", "--at", at, "--output", "json"))
        assert (row["price"], row["node_labels"]) == (price, labels)


BOOK = """
currency: USD
prices:
  - {model: X, price: "4", unit: gpu-hour}
  - {model: X, price: "2", unit: gpu-hour, term: reserved}
  - {model: X, price: "3", unit: gpu-hour, sharing: shared}
  - {model: X, price: "1", unit: gpu-hour, tier: spot}
  - {price: "16", unit: node-hour, node_labels: {zone: a}}
tiers: [{tier: critical, factor: "1.5"}]
discounts: [{cost_center: rd, factor: "0.5", contract: C-1}, {cost_center: rd, factor: "0.25", cluster: lab}]
"""


@pytest.mark.parametrize(
    ("options", "listed", "pays", "factors"),
    [
        ([], "4.000000", "4.000000", ("1.000000", "1.000000")),
        (["--tier", "critical"], "4.000000", "6.000000", ("1.500000", "1.000000")),
        (["--tier", "spot", "--cost-center", "rd"], "4.000000", "0.500000", ("1.000000", "0.500000")),
        (["--cost-center", "rd", "--cluster", "lab"], "4.000000", "1.000000", ("1.000000", "0.250000")),
        (["--sharing", "shared"], "4.000000", "3.000000", ("1.000000", "1.000000")),
        (["--term", "reserved", "--tier", "spot"], "4.000000", "2.000000", ("1.000000", "1.000000")),
        (["--node-label", "zone=a", "--cards", "8"], "2.000000", "2.000000", ("1.000000", "1.000000")),
    ],
)
def test_why_a_holder_pays_what_he_pays(
    run: Run, tmp_path: Path, options: list[str], listed: str, pays: str, factors: tuple[str, str]
) -> None:
    """By the hour; of each kind of entries the first applies, and no other."""
    (tmp_path / "p.yaml").write_text(BOOK)
    assert run("import", "p.yaml").exit_code == 0
    found = rows(run("show", "--why", "--model", "X", "--at", "2026-10-03", *options, "--output", "json"))
    for row in found:
        assert (row["list_hourly"], row["hourly"]) == (listed, pays)
        assert (row["tier_factor"], row["discount_factor"]) == factors
        assert (row["applies"] == "yes") == (row["rank"] == 1)
    assert found[0]["for"] == "list price"


def test_an_entry_keeps_its_own_unit_beside_the_one_that_is_paid_by(run: Run, tmp_path: Path) -> None:
    """No two columns have one name."""
    (tmp_path / "p.yaml").write_text(BOOK)
    assert run("import", "p.yaml").exit_code == 0
    asked = ("show", "--why", "--model", "X", "--at", "2026-10-03", "--node-label", "zone=a", "--cards", "8")
    header, *lines = csv.reader(io.StringIO(run(*asked, "--output", "csv").stdout))
    assert len(header) == len(set(header))
    listed = [dict(zip(header, line, strict=True)) for line in lines if line[0] == "list price"]
    assert [(row["price"], row["unit"], row["price_unit"]) for row in listed] == [
        ("16.000000", "node-hour", "node-hour"), ("4.000000", "gpu-hour", "node-hour"),
    ]  # fmt: skip


def test_what_is_asked_of_why_is_not_asked_of_the_book(run: Run) -> None:
    """All of it was ignored, and the whole book shown: also where what is said is the default."""
    ended = run("show", "--model", "X", "--sharing", "exclusive", "--node-label", "zone=a")
    said = "".join(f"{option}: want --why with it\n" for option in ("--model", "--sharing", "--node-label"))
    assert (ended.exit_code, ended.stdout, said in f"{ended.stderr}\n") == (2, "", True), ended.stderr


def test_why_nobody_pays(run: Run) -> None:
    """Unpriced: something is missing, which is not the same as wrong use."""
    ended = run("show", "--why", "--model", "X")
    assert (ended.exit_code, ended.stderr) == (1, "X: unpriced: it has no price of its own then and there\n")
    assert run("show", "--why").exit_code == 2
    odd = run("show", "--why", "--model", "X", "--node-label", "zone")
    assert (odd.exit_code, "--node-label: 'zone': want KEY=VALUE" in odd.stderr) == (2, True)


def test_check_warns_of_what_can_never_apply(run: Run, tmp_path: Path) -> None:
    """On stderr, and by its exit code; labels that are read are none of it."""
    (tmp_path / "p.yaml").write_text(BOOK)
    ended = run("check", "p.yaml")
    assert ended.exit_code == 1
    assert "p.yaml: prices[4]: zone=a: node_labels.zone: is not read from nodes" in ended.stderr
    assert run("check", "p.yaml", "--node-labels", "zone").exit_code == 0


def test_check_knows_a_timezone_that_is_none(run: Run) -> None:
    ended = run("check", "p.yaml", "--timezone", "Mars/Olympus")
    assert (ended.exit_code, "'Mars/Olympus': want an IANA time zone" in ended.stderr) == (2, True)


@pytest.mark.parametrize("dry_run", [("--dry-run",), ()])
def test_an_import_warns_of_it_and_takes_it(run: Run, tmp_path: Path, dry_run: tuple[str, ...]) -> None:
    (tmp_path / "p.yaml").write_text(BOOK)
    ended = run("import", "p.yaml", *dry_run)
    assert ended.exit_code == 0
    assert "p.yaml: prices[4]: zone=a: node_labels.zone: is not read from nodes" in ended.stderr
    assert "zone" not in run("import", "p.yaml", "--node-labels", "zone", *dry_run).stderr


def test_serve_goes_by_the_same_rule(run: Run, tmp_path: Path) -> None:
    """It refuses to start, with the command by which these prices can be had."""
    assert run("import", "p.yaml").exit_code == 0
    rate_an_hour(tmp_path)
    file = tmp_path / "it is.yaml"
    file.write_text(PRICES.replace('price: "3"', 'price: "4"'))
    options = ("serve", "--data", str(tmp_path), "--listen", "127.0.0.1:0")
    ended = chargeback(*options, "--prices", str(file), check=False)
    *problems, todo = ended.stderr.decode().splitlines()
    assert ended.returncode == 2
    until = format_instant(RATED_MS)
    what = f"prices: model {H100}: price: 3.000000 becomes 4.000000, from ever"
    assert f"{file}: {what}: hours are rated until {until}: want it from then on, or --force --reason" in problems
    assert todo == f"to take them all the same: chargeback prices import '{file}' --force --reason WHY"
    file.write_text(PRICES.replace("USD", "EUR"))
    ended = chargeback(*options, "--prices", str(file), check=False)
    assert (ended.returncode, "currency: EUR: want USD" in ended.stderr.decode()) == (2, True)


def test_without_a_ledger_there_is_nothing_to_import_into(tmp_path: Path) -> None:
    """A database that no server has begun has no currency and no timezone yet."""
    open_ledger(tmp_path).close()
    (tmp_path / "p.yaml").write_text(PRICES)
    arguments = ["prices", "import", str(tmp_path / "p.yaml"), "--data", str(tmp_path)]
    ended = CliRunner().invoke(main, arguments)
    assert (ended.exit_code, "start `chargeback serve` first" in ended.stderr) == (2, True)
