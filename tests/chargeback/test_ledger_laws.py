"""The nine laws of the ledger, end to end: arbitrary stories told to the real store. Each docstring is the law."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargeback.core.corrections import net
from chargeback.core.lines import REVERSAL, Line
from chargeback.explaining.explain import explain
from chargeback.months.look import look
from chargeback.reports import costs
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.months import OPEN, month_states
from chargeback.store.schema import migrate
from tests.chargeback.ledger_checks import Watch, all_lines, billed, by_hand, exports, facts, truth
from tests.chargeback.ledger_drawn import stories
from tests.chargeback.ledger_story import (
    LIMITS,
    Discard,
    Input,
    Ledger,
    Onward,
    Plan,
    Push,
    Relabel,
    Repolicy,
    Reprice,
    Step,
    Story,
    inputs,
    with_policy,
)
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]

# Lines have hashes for ids: the first ones are any.
EXPLAINED_MOST = 12

NewLedger = Callable[[Story], Ledger]

told = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def on_sqlite() -> Iterator[NewLedger]:
    """A new ledger each time, from a copy of an empty one: it need not be migrated again."""
    with TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.db"
        database = open_database(sqlite_url(empty))
        migrate(database)
        database.close()
        numbers = itertools.count()
        opened: list[Database] = []

        def new(story: Story) -> Ledger:
            while len(opened) > 4:
                opened.pop(0).close()
            file = Path(folder) / f"{next(numbers)}.db"
            shutil.copy(empty, file)
            opened.append(open_database(sqlite_url(file)))
            return _begun(opened[-1], story)

        yield new
        for each in opened:
            each.close()


@pytest.fixture(scope="module")
def on_postgresql(postgres: Postgres) -> Iterator[NewLedger]:
    """A new ledger each time, from PostgreSQL's own copy of an empty one."""
    empty = postgres.new_database()
    database = open_database(empty)
    migrate(database)
    database.close()
    template = empty.rpartition("/")[2]
    numbers = itertools.count()
    opened: list[Database] = []

    def new(story: Story) -> Ledger:
        while opened:
            opened.pop().close()
        name = f"story_{next(numbers)}"
        postgres.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        opened.append(open_database(postgres.url(name)))
        return _begun(opened[-1], story)

    yield new
    for each in opened:
        each.close()


def _begun(database: Database, story: Story) -> Ledger:
    ledger = Ledger(database)
    ledger.begin(story)
    return ledger


def all_told(ledger: Ledger, steps: list[Input] | tuple[Step, ...]) -> list[Line]:
    """Every step, rated once at the end."""
    for step in steps:
        ledger.take(step)
    ledger.rate()
    return all_lines(ledger.database)


@told
@given(stories())
def test_the_laws_hold_after_every_step(on_sqlite: NewLedger, story: Story) -> None:
    """Laws 1, 3, 4 and 5 hold whatever comes, in whatever order, also late and also into closed months."""
    ledger = on_sqlite(story)
    watch = Watch(ledger.database, {})
    for step in story.steps:
        ledger.tell(step)
        watch.check()


@told
@given(stories())
def test_what_counts_in_the_end_is_as_if_all_had_been_known_at_once(on_sqlite: NewLedger, story: Story) -> None:
    """Laws 2 and 4: a ledger that closed months in between, corrections and all, says of each key what one says that
    was told everything before it rated anything."""
    ledger, at_once = on_sqlite(story), on_sqlite(story)
    for step in (*story.steps, Discard()):
        ledger.tell(step)
    found, wanted = all_lines(ledger.database), all_told(at_once, inputs(story.steps))
    assert billed(truth(found, ledger.timezone)) == billed(truth(wanted, ledger.timezone))
    transfers = by_hand(line for line in found if line.device.startswith("transfer"))
    posted = by_hand(found)
    known = by_hand(wanted)
    for account in posted.keys() | known.keys() | transfers.keys():
        assert posted.get(account, 0) - transfers.get(account, 0) == known.get(account, 0)
    assert sum(transfers.values()) == 0


@told
@given(stories(closing=False), st.randoms(use_true_random=False))
def test_the_order_in_which_bodies_come_is_no_matter(
    on_sqlite: NewLedger, story: Story, chance: random.Random
) -> None:
    """Law 2: shuffled, each of them twice, and before or after anything else: the same bytes are exported."""
    pushed = [step for step in story.steps if isinstance(step, Push)]
    others = [step for step in inputs(story.steps) if not isinstance(step, Push)]
    bodies = [Push(bodies=(body,)) for step in pushed for body in (*step.bodies, *step.bodies)]
    in_order, shuffled = on_sqlite(story), on_sqlite(story)
    all_told(in_order, [*others, *pushed])
    chance.shuffle(bodies)
    cut = chance.randint(0, len(bodies))
    for body in bodies[:cut]:
        shuffled.take(body)
    for step in others:
        shuffled.tell(step)
    all_told(shuffled, list(bodies[cut:]))
    assert exports(shuffled.database) == exports(in_order.database)


@told
@given(stories())
def test_the_past_stays_as_it_was(on_sqlite: NewLedger, story: Story) -> None:
    """Law 6: what holds from an instant on leaves every line that ended before as it was, with its versions.

    A file of plans says all that there is, so a later one also takes back what an earlier one said of the past.
    """
    ledger = on_sqlite(story)
    first_plan = next((step for step in story.steps if isinstance(step, Plan)), None)
    for step in story.steps:
        before = truth(all_lines(ledger.database), ledger.timezone)
        ledger.tell(step)
        if (isinstance(step, Relabel | Repolicy) or step is first_plan) and not _is_frozen(ledger):
            after = truth(all_lines(ledger.database), ledger.timezone)
            hour = step.from_ms // 3_600_000
            assert [line for line in after if line.hour < hour] == [line for line in before if line.hour < hour]


@told
@given(stories())
def test_every_amount_can_be_explained(on_sqlite: NewLedger, story: Story) -> None:
    """Law 7: any line can be asked for; what counts now is what rating gives, down to the very line; and what takes a
    line back is its opposite."""
    ledger = on_sqlite(story)
    for step in (*story.steps, Discard()):
        ledger.tell(step)
    lines = all_lines(ledger.database)
    counting = {line.line_id for line in net(lines)} | {line.line_id for line in lines if line.part == REVERSAL}
    for line in sorted(lines, key=lambda line: line.line_id)[:EXPLAINED_MOST]:
        found = explain(ledger.database, line.line_id)
        assert found.line_id == line.line_id
        if line.line_id in counting:
            assert found.reproduced is True, (line, found.why)


@told
@given(stories(), st.sampled_from(["cost-center", "namespace", "kind", "day"]))
def test_what_is_asked_for_does_not_change_what_it_is(on_sqlite: NewLedger, story: Story, wanted: str) -> None:
    """A group filtered by its name is the same group, to the micro, and all groups are the whole."""
    ledger = on_sqlite(story)
    for step in story.steps:
        ledger.tell(step)
    days = ("2026-10-01", "2026-12-31")
    every = costs(ledger.database, *days, (wanted,), {}, ledger.now_ms)
    for row in every:
        alone = costs(ledger.database, *days, (wanted,), {wanted: frozenset(row.group)}, ledger.now_ms)
        assert [each for each in alone if each.provisional == row.provisional] == [row]
    lines = all_lines(ledger.database)
    # What waits for a draft to be decided on is shown as provisional.
    rated = [row for row in every if not row.provisional]
    assert sum(row.amount_micros or 0 for row in rated) == sum(line.amount_micros or 0 for line in lines)


@told
@given(stories())
def test_no_stranger_pays(on_sqlite: NewLedger, story: Story) -> None:
    """Law 9: whose a namespace is changes no line of any other, not by a micro, also where months are closed."""
    ledger = on_sqlite(story)
    for step in story.steps:
        before = truth(all_lines(ledger.database), ledger.timezone)
        ledger.tell(step)
        if isinstance(step, Relabel) and not _is_frozen(ledger):
            after = truth(all_lines(ledger.database), ledger.timezone)
            assert facts(_others(after, step.namespace)) == facts(_others(before, step.namespace))


@told
@given(stories(most=3, closing=False))
def test_all_accounts_together_are_the_same_under_every_policy(on_sqlite: NewLedger, story: Story) -> None:
    """Sharing, basis, faulted time and idle move money between accounts and make none."""
    totals = set()
    variants = [
        {"sharing": sharing, "basis": basis, "faulted": faulted, "idle": idle}
        for sharing, basis, faulted, idle in (
            ("configured", "allocation", "bill", "none"),
            ("active", "usage", "credit", "even"),
            ("configured", "usage", "bill", "list"),
            ("active", "allocation", "credit", "list"),
        )
    ]
    for variant in variants:
        billed = with_policy(story, **variant)
        ledger = on_sqlite(billed)
        all_told(ledger, (*billed.steps, Onward(steps=6)))
        by_month: dict[str, list[int]] = {}
        for line in all_lines(ledger.database):
            sums = by_month.setdefault(line.month, [0, 0])
            sums[0] += line.list_micros or 0
            sums[1] += line.amount_micros or 0
        totals.add(tuple((month, *sums) for month, sums in sorted(by_month.items()) if any(sums)))
    assert len(totals) == 1


@settings(told, max_examples=6)
@given(stories())
def test_both_databases_say_the_same_bytes(on_sqlite: NewLedger, on_postgresql: NewLedger, story: Story) -> None:
    """The same story, the same exports, after every step; names with é, Z, _, - and quotes are in bytewise order."""
    one, other = on_sqlite(story), on_postgresql(story)
    watch = Watch(other.database, {})
    for step in story.steps:
        one.tell(step)
        other.tell(step)
        watch.check()
        assert exports(one.database) == exports(other.database)
        assert one.blocked == other.blocked


@told
@given(stories())
def test_time_without_a_price_blocks_the_close(on_sqlite: NewLedger, story: Story) -> None:
    """Law 8: it has no amount at all, and its month is not closed unless a person answers for it by name."""
    ledger = on_sqlite(story)
    unpriced = Reprice(from_ms=story.prices.from_ms, low=1, high=1, model=None)
    ledger.tell(story.steps[0])
    ledger.tell(unpriced)
    lines = all_lines(ledger.database)
    assert {line.account for line in lines} <= {"platform:unpriced"}
    assert {line.amount_micros for line in lines} <= {None}
    if lines:
        assert blocks(ledger, min(line.month for line in lines))


def blocks(ledger: Ledger, month: str) -> bool:
    found = look(ledger.database, month, ledger.now_ms, 0, LIMITS)
    return any(each.check == "unpriced" and each.blocks for each in found.findings)


def _is_frozen(ledger: Ledger) -> bool:
    """Hours of a drafted or approved month wait: what was told now shows later."""
    with ledger.database.read() as connection:
        return any(each.state not in (OPEN, "closed") for each in month_states(connection))


def _others(lines: list[Line], namespace: str) -> list[Line]:
    return [line for line in lines if line.namespace not in ("", namespace)]
