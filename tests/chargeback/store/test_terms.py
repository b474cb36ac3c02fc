"""The terms of billing are dated: what changes today leaves yesterday alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import pytest

from chargeback.core.hours import HOUR_MS, format_instant
from chargeback.core.policy import Policy
from chargeback.core.prices.asked import Asked
from chargeback.core.prices.changes import first_difference
from chargeback.files.prices import parse_prices
from chargeback.store.audit import entries
from chargeback.store.claims import claim
from chargeback.store.database import Database, open_database
from chargeback.store.months import CLOSED, MonthState, put_state
from chargeback.store.policies import TermsConflict, begin_policy, policy_book
from chargeback.store.terms import PricesRefused, book_history, import_prices, look_at_import, price_book
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import GRACE_MS, H100, HOUR, PRICES, body, put, start_ms

LATER_MS = start_ms(HOUR + 40)


def import_text(database: Database, text: str, **how: Any) -> int:
    """Import a price book; its version."""
    with database.write() as connection:
        return import_prices(connection, parse_prices(text, "new.yaml"), "new.yaml", "UTC", LATER_MS, **how).version


def close_october(database: Database) -> None:
    """The month of all these hours."""
    state = MonthState(month="2026-10", state=CLOSED, draft=1, first_hour=HOUR, last_hour=HOUR + 700, changed_ms=0)
    with database.write() as connection:
        put_state(connection, state)


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
        "mig_weight: this ledger began with 1, the settings say 1/2",
        "timezone: this ledger began with UTC, the settings say Asia/Tokyo",
        "currency: this ledger began with USD, the settings say EUR",
    ]


def test_importing_the_same_prices_again_changes_nothing(rated: Database) -> None:
    """`serve` imports them at every start."""
    assert import_text(rated, PRICES) == 1
    assert due_hours(rated) == []


def test_a_comment_makes_a_version_and_no_work(rated: Database) -> None:
    """The text is kept as it is; the prices are the same."""
    assert import_text(rated, PRICES + "# checked by finance\n") == 2
    assert due_hours(rated) == []


AT_ONE, AT_THREE = (format_instant(start_ms(HOUR + hours)) for hours in (1, 3))
OLD = f'{{model: {H100}, price: "3", unit: gpu-hour}}'


def raised(at: str, price: str = "4") -> str:
    """The way to raise a price: an `until` on the old entry, a new one from there."""
    new = (
        f'{{model: {H100}, price: "3", unit: gpu-hour, until: "{at}"}}\n'
        f'  - {{model: {H100}, price: "{price}", unit: gpu-hour, from: "{at}"}}'
    )
    assert OLD in PRICES
    return PRICES.replace(OLD, new)


def test_a_price_that_changes_from_a_date_on_leaves_the_hours_before_alone(rated: Database) -> None:
    """Hours that were not rated yet cost what the newest book says, unasked."""
    at = format_instant(LATER_MS)
    assert import_text(rated, raised(at)) == 2
    assert due_hours(rated) == []
    with rated.read() as connection:
        book = price_book(connection, "UTC")
    asked = [Asked(model=H100, start_ms=at_ms, end_ms=at_ms + HOUR_MS) for at_ms in (LATER_MS - HOUR_MS, LATER_MS)]
    assert [rate and rate.hourly for rate in map(book.list_rate, asked)] == [3_000_000, 4_000_000]


def refusal(database: Database, text: str) -> str:
    with pytest.raises(PricesRefused) as refused:
        import_text(database, text)
    return str(refused.value)


def test_prices_of_rated_hours_change_only_by_force_and_with_a_reason(rated: Database) -> None:
    """The refusal names the entry, its field, from when; what is forced is kept with who and why."""
    said = refusal(rated, raised(AT_ONE)).splitlines()
    until = format_instant(LATER_MS - HOUR_MS)  # the last hour is in its grace
    what = f"prices: model {H100}: price: 3.000000 becomes 4.000000, from {AT_ONE}"
    assert said == [f"{what}: hours are rated until {until}: want it from then on, or --force --reason"]
    assert due_hours(rated) == []
    assert import_text(rated, raised(AT_ONE), force=True, who="ada", why="a slip") == 2
    assert due_hours(rated)[:2] == [HOUR + 1, HOUR + 2]
    with rated.read() as connection:
        *_, last = book_history(connection, "UTC")
        (noted,) = entries(connection, "price book 2")
    assert (last.who, last.why, [change.text for change in last.changes]) == ("ada", "a slip", [what])
    assert (noted.action, noted.who, noted.why) == ("prices import", "ada", "a slip")
    assert noted.detail == {"source": "new.yaml", "changes": [what], "backdated": [what]}


def test_an_entry_that_priced_a_closed_month_can_only_end(rated: Database) -> None:
    """At its end or later; neither another price nor none from ever."""
    close_october(rated)
    end = "2026-11-01T00:00:00Z"
    wanted = f"months are closed until {end}: what priced them can only end, then or later"
    for text in (raised(AT_ONE), PRICES.replace('price: "3"', 'price: "5"'), PRICES.replace(f"  - {OLD}\n", "")):
        assert text != PRICES
        said = refusal(rated, text)
        assert f"model {H100}: " in said
        assert wanted in said
        assert "--force --reason, and adjustments follow" in said
    assert import_text(rated, raised(end)) == 2


def test_a_price_may_end_only_after_the_hours_that_it_priced(rated: Database) -> None:
    """To end it earlier would leave rated hours without one."""
    ended = PRICES.replace(OLD, f'{{model: {H100}, price: "3", unit: gpu-hour, until: "{AT_THREE}"}}')
    assert "taken away: price 3.000000, unit gpu-hour" in refusal(rated, ended)
    later = ended.replace(AT_THREE, format_instant(LATER_MS))
    assert import_text(rated, later) == 2


def test_time_that_had_no_price_is_filled_unasked(database: Database) -> None:
    """Also in the past, also of closed months: nobody paid anything for it."""
    with database.write() as connection:
        begin_policy(connection, Policy(), 0)
    put(database, body())
    close_all(database, LATER_MS, GRACE_MS)
    close_october(database)
    assert import_text(database, PRICES) == 1
    another = f'{OLD}\n  - {{model: A new one, price: "1", unit: gpu-hour}}'
    assert import_text(database, PRICES.replace(OLD, another)) == 2


def test_prices_in_another_currency_are_refused_whatever_force(ledger: Database) -> None:
    with pytest.raises(TermsConflict, match="currency: EUR: want USD, the ledger's"):
        import_text(ledger, PRICES.replace("USD", "EUR"), force=True)


def test_an_import_can_be_looked_at_first(rated: Database) -> None:
    """What would change, what of it needs force, and how many node-hours would be rated again."""
    with rated.read() as connection:
        look = look_at_import(connection, parse_prices(raised(AT_ONE), "new.yaml"), "UTC")
        same = look_at_import(connection, parse_prices(PRICES, "new.yaml"), "UTC")
        assert price_book(connection, "UTC").version == 1
    assert (look.book.version, len(look.changes), look.backdated, look.is_new) == (2, 1, look.changes, True)
    assert look.due == 38
    assert (same.book.version, same.changes, same.due, same.is_new) == (1, (), 0, False)
    assert due_hours(rated) == []


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
