"""The terms of billing are dated: what changes today leaves yesterday alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import pytest

from chargeback.core.hours import format_instant
from chargeback.core.policy import Policy
from chargeback.price_file import parse_prices
from chargeback.store.database import Database, open_database
from chargeback.store.node_hours import claim
from chargeback.store.terms import (
    TermsConflict,
    begin_policy,
    first_difference,
    import_prices,
    policy_book,
    price_book,
    set_policy,
)
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import GRACE_MS, H100, HOUR, PRICES, body, put, start_ms

LATER_MS = start_ms(HOUR + 40)


def import_text(database: Database, text: str) -> int:
    """Import a price book; its version."""
    with database.write() as connection:
        return import_prices(connection, parse_prices(text, "new.yaml"), "new.yaml", "UTC", LATER_MS).version


def due_hours(database: Database) -> list[int]:
    with database.write() as connection:
        return [key.hour for key, _, _ in claim(connection, LATER_MS, 1000)]


@pytest.fixture
def rated(ledger: Database) -> Database:
    """Three hours, rated; then the card is silent."""
    for hour in (HOUR, HOUR + 1, HOUR + 2):
        put(ledger, body(hour=hour))
    close_all(ledger, LATER_MS, GRACE_MS)
    return ledger


def test_a_policy_comes_back_as_it_was_begun(database: Database) -> None:
    """Fractions included."""
    policy = Policy(mig_weight=Fraction(1, 3), timezone="Europe/Berlin", currency="EUR", plans_from="quota")
    with database.write() as connection:
        assert policy_book(connection) is None
        begin_policy(connection, policy, 0)
        begin_policy(connection, policy, 1)
        book = policy_book(connection)
    assert book is not None
    assert book.first == book.latest == policy


def test_settings_that_contradict_the_ledger_are_all_named(ledger: Database) -> None:
    """A replica with other settings must not start."""
    other = Policy(timezone="Asia/Tokyo", currency="EUR", mig_weight=Fraction(1, 2))

    def begin_again() -> None:
        with ledger.write() as connection:
            begin_policy(connection, other, 1)

    with pytest.raises(TermsConflict) as caught:
        begin_again()
    assert str(caught.value).splitlines()[:3] == [
        "timezone: this ledger began with UTC, the settings say Asia/Tokyo",
        "currency: this ledger began with USD, the settings say EUR",
        "mig_weight: this ledger began with 1, the settings say 1/2",
    ]


def test_a_new_policy_holds_from_its_date_and_rates_again_from_there(rated: Database) -> None:
    """The first version stays the one that settings are compared with."""
    with rated.write() as connection:
        set_policy(connection, Policy(from_ms=start_ms(HOUR + 1), sharing="active"), LATER_MS)
        book = policy_book(connection)
        begin_policy(connection, Policy(), LATER_MS)
    assert book is not None
    assert [book.at(start_ms(HOUR)).sharing, book.at(start_ms(HOUR + 1)).sharing] == ["configured", "active"]
    assert due_hours(rated)[0] == HOUR + 1


def test_importing_the_same_prices_again_changes_nothing(rated: Database) -> None:
    """`serve` imports them at every start."""
    assert import_text(rated, PRICES) == 1
    assert due_hours(rated) == []


def test_a_comment_makes_a_version_and_no_work(rated: Database) -> None:
    """The text is kept as it is; the prices are the same."""
    assert import_text(rated, PRICES + "# checked by finance\n") == 2
    assert due_hours(rated) == []


def test_a_price_that_changes_from_a_date_on_leaves_the_hours_before_alone(rated: Database) -> None:
    """The way to raise a price: an `until` on the old entry, a new one from there."""
    at = format_instant(start_ms(HOUR + 1))
    old = f'{{model: {H100}, price: "3", unit: gpu-hour}}'
    new = (
        f'{{model: {H100}, price: "3", unit: gpu-hour, until: "{at}"}}\n'
        f'  - {{model: {H100}, price: "4", unit: gpu-hour, from: "{at}"}}'
    )
    assert import_text(rated, PRICES.replace(old, new)) == 2
    assert due_hours(rated)[:2] == [HOUR + 1, HOUR + 2]
    with rated.read() as connection:
        book = price_book(connection, "UTC")
    assert [book.list_rate(H100, start_ms(hour), start_ms(hour + 1)) for hour in (HOUR, HOUR + 1)] == [
        replace(rate, unit_amount=Fraction(micros), hourly=Fraction(micros))
        for micros in (3_000_000, 4_000_000)
        if (rate := book.list_rate(H100, start_ms(HOUR), start_ms(HOUR + 1)))
    ]


def test_a_price_that_was_always_wrong_rates_everything_again(rated: Database) -> None:
    """A correction without a date."""
    import_text(rated, PRICES.replace('price: "3"', 'price: "5"'))
    assert due_hours(rated)[0] == HOUR


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("", "", None),
        ("{tier: t, factor: '2'}", "{tier: t, factor: '2'}", None),
        ("{tier: t, factor: '2'}", "{tier: t, factor: '3'}", 0),
        ("{tier: t, factor: '2'}", "{tier: t, factor: '2', until: 2026-10-02}", "2026-10-02T00:00:00Z"),
        ("{tier: t, factor: '2', from: 2026-10-01}", "", "2026-10-01T00:00:00Z"),
        (
            "{tier: t, factor: '2'}",
            "{tier: t, factor: '2', until: 2026-10-02}, {tier: t, factor: '2', from: 2026-10-02}",
            None,
        ),
        ("{tier: t, factor: '2', until: 2026-10-02}", "{tier: u, factor: '2', until: 2026-10-02}", 0),
    ],
)
def test_the_first_difference_of_two_books(before: str, after: str, wanted: str | int | None) -> None:
    """Where they first say different things, not where an entry first differs."""
    ours, theirs = (
        parse_prices(f"currency: USD\ntiers: [{tiers}]\n", "x").book(version=1, timezone="UTC")
        for tiers in (before, after)
    )
    found = first_difference(ours, theirs)
    assert (format_instant(found) if found else found) == wanted


def test_without_prices_the_book_is_empty(database: Database) -> None:
    """All time is unpriced then."""
    with database.read() as connection:
        assert (price_book(connection, "UTC").version, price_book(connection, "UTC").prices) == (0, ())


def test_replicas_that_start_at_once_begin_one_ledger(database: Database, url: str) -> None:
    """The first start of a Deployment with several replicas."""
    replicas = [open_database(url) for _ in range(4)]

    def begin(replica: Database) -> int:
        with replica.write() as connection:
            begin_policy(connection, Policy(), 0)
        return import_text(replica, PRICES)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begin, replicas)) == [1, 1, 1, 1]
    for replica in replicas:
        replica.close()
