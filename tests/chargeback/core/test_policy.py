"""The policy is resolved field by field: by scope, then by date, then by version."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.hours import HOUR_MS, month_span_ms
from chargeback.core.policy import BY_CLUSTER, BY_NOTHING, BY_POOL, FIELDS, Policy, PolicyBook, PolicyChange
from chargeback.core.policy_changes import Begun, problems_of

FIRST = Policy()
CLUSTERS, POOLS = ("", "a", "b"), ("", "p", "q")
VALUES: dict[str, Sequence[Any]] = {
    "sharing": ("configured", "active"),
    "mig_weight": (Fraction(0), Fraction(1, 3)),
    "basis": ("allocation", "usage"),
    "idle": ("none", "even", "list"),
}


@st.composite
def change(draw: st.DrawFn) -> PolicyChange:
    """Of the fields that can differ by pool, or one of those that cannot; on a few instants, so that they meet."""
    cluster = draw(st.sampled_from(CLUSTERS))
    pool = draw(st.sampled_from(POOLS)) if cluster else ""
    names = draw(
        st.lists(st.sampled_from([n for n in VALUES if not (pool and n == "idle")]), min_size=1, unique=True)
    )
    inherited = [None] if cluster else []
    values = {name: draw(st.sampled_from([*VALUES[name], *inherited])) for name in names}
    return PolicyChange(
        version=0, from_ms=draw(st.integers(0, 4)) * HOUR_MS, cluster=cluster, pool=pool, values=values
    )


CHANGES = st.lists(change(), max_size=12).map(lambda made: [replace(c, version=i + 2) for i, c in enumerate(made)])
INSTANT = st.integers(0, 5).map(lambda hour: hour * HOUR_MS)
PLACE = st.one_of(st.just(("", "")), st.tuples(st.sampled_from("ab"), st.sampled_from(POOLS)))


def naive(changes: Sequence[PolicyChange], name: str, at_ms: int, cluster: str, pool: str) -> Any:
    """The rule, word by word: the narrowest scope that says it, the latest from there, the latest version of it."""
    for scope in ((cluster, pool), (cluster, ""), ("", "")):
        said = [c for c in changes if (c.cluster, c.pool) == scope and name in c.values and c.from_ms <= at_ms]
        if said:
            last = sorted(said, key=lambda c: (c.from_ms, c.version))[-1]
            if last.values[name] is not None:
                return last.values[name]
    return getattr(FIRST, name)


@given(changes=CHANGES, at_ms=INSTANT, place=PLACE)
def test_each_field_is_what_its_narrowest_scope_says_last(
    changes: list[PolicyChange], at_ms: int, place: tuple[str, str]
) -> None:
    """Against the rule written down naively."""
    found = PolicyBook([FIRST, *changes]).at(at_ms, *place)
    for name in VALUES:
        assert getattr(found, name) == naive(changes, name, at_ms, *place)


@given(changes=CHANGES, at_ms=INSTANT, place=PLACE, data=st.data())
def test_the_order_in_which_versions_are_read_does_not_matter(
    changes: list[PolicyChange], at_ms: int, place: tuple[str, str], data: st.DataObject
) -> None:
    """And that in which they were recorded only where two say the same field of one scope from the same instant."""
    shuffled = data.draw(st.permutations([FIRST, *changes]))
    assert PolicyBook(shuffled).at(at_ms, *place) == PolicyBook([FIRST, *changes]).at(at_ms, *place)
    keys = [(c.cluster, c.pool, c.from_ms, name) for c in changes for name in c.values]
    if len(keys) == len(set(keys)):
        order = data.draw(st.permutations(changes))
        renumbered = [replace(c, version=i + 2) for i, c in enumerate(order)]
        found, other = (PolicyBook([FIRST, *each]).at(at_ms, *place) for each in (changes, renumbered))
        assert replace(found, version=0) == replace(other, version=0)


@given(changes=CHANGES, wider=change(), at_ms=INSTANT)
def test_a_later_wider_change_does_not_override_a_narrower_one(
    changes: list[PolicyChange], wider: PolicyChange, at_ms: int
) -> None:
    """What pool p of cluster a says itself stays as it is, whatever the ledger or its cluster come to say."""
    own = PolicyChange(version=50, from_ms=0, cluster="a", pool="p", values={"sharing": "active"})
    narrower = [c for c in changes if not (c.pool == "p" and "sharing" in c.values)]
    last = replace(wider, version=99)
    if (last.cluster, last.pool) == ("a", "p"):
        last = replace(last, pool="")
    assert PolicyBook([FIRST, *narrower, own, last]).at(at_ms, "a", "p").sharing == "active"


@given(changes=CHANGES, later=change(), place=PLACE)
def test_a_change_leaves_what_was_before_it_alone(
    changes: list[PolicyChange], later: PolicyChange, place: tuple[str, str]
) -> None:
    """Law 6: history counts. The versions that lines name stay theirs, too."""
    before, after = PolicyBook([FIRST, *changes]), PolicyBook([FIRST, *changes, replace(later, version=99)])
    for at_ms in range(0, later.from_ms, HOUR_MS):
        assert after.at(at_ms, *place) == before.at(at_ms, *place)


@given(changes=CHANGES, at_ms=INSTANT, place=PLACE)
def test_the_version_is_the_greatest_that_has_a_say(
    changes: list[PolicyChange], at_ms: int, place: tuple[str, str]
) -> None:
    """Whatever else was recorded could as well not have been."""
    book = PolicyBook([FIRST, *changes])
    found, said = book.at(at_ms, *place), book.said(at_ms, *place)
    assert {name: each.values[name] for name, each in said.items()} == {n: getattr(found, n) for n in FIELDS}
    assert max(each.version for each in said.values()) <= found.version
    assert found.from_ms <= at_ms
    assert PolicyBook([FIRST, *(c for c in changes if c.version <= found.version)]).at(at_ms, *place) == found


def test_timezone_and_currency_are_of_the_whole_ledger() -> None:
    """Whenever they are asked for: days and months cannot have two."""
    change = PolicyChange(version=2, from_ms=0, values={"timezone": "Europe/Berlin", "currency": "EUR"})
    book = PolicyBook([Policy(sharing="active"), change])
    for policy in (book.first, book.latest, book.at(0), book.at(HOUR_MS, "a", "p")):
        assert (policy.timezone, policy.currency, policy.sharing) == ("Europe/Berlin", "EUR", "active")
    assert (book.first.version, book.latest.version) == (1, 2)
    assert [change.values["timezone"] for change in book.changes] == ["UTC", "Europe/Berlin"]


def test_the_scopes_that_anything_was_said_of() -> None:
    """Each once, wide ones first."""
    said = {"sharing": "active"}
    narrow = [PolicyChange(version=v, from_ms=0, cluster="a", pool=p, values=said) for v, p in ((2, "p"), (3, "p"))]
    wide = PolicyChange(version=4, from_ms=0, cluster="a", values=said)
    assert PolicyBook([Policy(), *narrow, wide]).scopes() == [("", ""), ("a", ""), ("a", "p")]


def test_before_the_first_version_the_first_holds() -> None:
    book = PolicyBook([Policy(from_ms=5 * HOUR_MS, sharing="active")])
    assert book.at(0).sharing == book.at(9 * HOUR_MS).sharing == "active"


def test_every_field_has_a_scope() -> None:
    """A new one must say what it can differ by."""
    assert sorted(FIELDS) == sorted({each.name for each in fields(Policy)} - {"version", "from_ms"})
    assert len({*BY_POOL, *BY_CLUSTER, *BY_NOTHING}) == len(FIELDS)


# What may be changed.

OCTOBER_MS, NOVEMBER_MS = month_span_ms("2026-10", "Europe/Berlin")
BEGUN = Begun(timezone="Europe/Berlin")
CLOSED = replace(BEGUN, settled_ms=NOVEMBER_MS)


def problems(values: dict[str, Any], *, begun: Begun = BEGUN, force: bool = False, **where: Any) -> str:
    change = PolicyChange(version=0, values=values, **({"from_ms": NOVEMBER_MS} | where))
    return "\n".join(problems_of(change, begun, force=force))


@pytest.mark.parametrize(
    ("values", "where", "said"),
    [
        ({}, {}, "want one of --sharing, --mig-weight"),
        (
            {"sharing": "active"},
            {"from_ms": NOVEMBER_MS + 1},
            "--from: 2026-10-31T23:00:00.001Z: want a whole UTC hour",
        ),
        ({"sharing": "active"}, {"pool": "p"}, "--pool: 'p': want --cluster as well"),
        ({"approver": "other"}, {"cluster": "a"}, "--approver: is of the whole ledger"),
        ({"idle": "even"}, {"cluster": "a", "pool": "p"}, "--idle: is of a whole cluster"),
        ({"plans_from": "quota"}, {"cluster": "a", "pool": "p"}, "--plans-from: is of a whole cluster"),
        ({"mig_weight": None}, {}, "--inherit mig-weight: want --cluster"),
        ({"timezone": "UTC"}, {}, "--from: --timezone is of the whole ledger from its beginning"),
        ({"timezone": "UTC", "basis": "usage"}, {"from_ms": 0}, "--basis: want a change of its own"),
    ],
)
def test_a_change_that_cannot_be_meant(values: dict[str, Any], where: dict[str, Any], said: str) -> None:
    assert said in problems(values, **where)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"sharing": "active", "mig_weight": Fraction(0), "basis": "usage", "faulted": "credit"}, {}),
        ({"sharing": "active", "basis": None}, {"cluster": "a", "pool": "p"}),
        ({"plans_from": "quota", "idle": "even"}, {"cluster": "a"}),
        ({"approver": "other"}, {"from_ms": OCTOBER_MS}),
        ({"timezone": "UTC"}, {"from_ms": 0}),
        ({"currency": "EUR"}, {"from_ms": 0}),
    ],
)
def test_a_change_that_may_be_made(values: dict[str, Any], where: dict[str, Any]) -> None:
    assert problems(values, **where) == ""


def test_what_is_closed_is_changed_only_by_force() -> None:
    """But what a month was closed by never is, nor the timezone and currency of its statements."""
    late = {"from_ms": OCTOBER_MS, "begun": CLOSED}
    until = "months are closed until 2026-10-31T23:00:00Z"
    assert problems({"sharing": "active"}, **late).endswith(
        f"{until}: want --force, and adjustments follow; or a later time"
    )
    assert problems({"sharing": "active"}, force=True, **late) == ""
    assert problems({"sharing": "active"}, begun=CLOSED) == ""
    for name, value in (("idle", "even"), ("approver", "other")):
        said = problems({name: value}, force=True, **late)
        closed = "months are closed by the old one until 2026-10-31T23:00:00Z"
        assert said == f"--{name}: from 2026-09-30T22:00:00Z: {closed}: want it then or later"
        assert problems({name: value}, begun=CLOSED) == ""
    for name, value in (("timezone", "UTC"), ("currency", "EUR")):
        assert f"--{name}: {until}: it is theirs for ever" in problems(
            {name: value}, force=True, begun=CLOSED, from_ms=0
        )


def test_currencies_are_never_mixed() -> None:
    """Not even where no month is closed yet; a timezone may change then."""
    priced = replace(BEGUN, priced=True)
    assert "currencies are never mixed" in problems({"currency": "EUR"}, begun=priced, force=True, from_ms=0)
    assert problems({"timezone": "UTC"}, begun=priced, from_ms=0) == ""


def test_all_problems_of_a_change_come_together() -> None:
    said = problems({"idle": None, "approver": "other"}, begun=CLOSED, from_ms=1, pool="p").splitlines()
    assert len(said) == len(set(said)) >= 5
    assert [line.partition(":")[0] for line in itertools.islice(said, 2)] == ["--pool", "--idle"]
