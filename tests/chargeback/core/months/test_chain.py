"""The chain tells whoever has its newest hash whether anything before was changed, left out or put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.months.chain import BEGINNING, Link, Statement, verify

STATEMENT = Statement(
    number=1,
    month="2026-10",
    account="cc-a",
    draft=2,
    lines_sha256="ab" * 32,
    gpu_ms=Fraction(10, 7),
    list_micros=5,
    amount_micros=4,
    content=b"CB-2026-10-cc-a,2\r\n",
)


def chained(statements: Sequence[Statement]) -> list[Link]:
    links: list[Link] = []
    previous = BEGINNING
    for statement in statements:
        links.append(Link(statement=statement, previous_sha256=previous, sha256=statement.sha256(previous)))
        previous = links[-1].sha256
    return links


def three() -> list[Link]:
    return chained([replace(STATEMENT, number=number, account=f"cc-{number}") for number in (1, 2, 3)])


def test_a_chain_verifies() -> None:
    assert list(verify(three())) == []
    assert list(verify([])) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"month": "2026-09"},
        {"account": "cc-x"},
        {"draft": 3},
        {"lines_sha256": "00" * 32},
        {"gpu_ms": Fraction(10, 8)},
        {"list_micros": 6},
        {"amount_micros": 6},
        {"content": b"CB-2026-10-cc-a,3\r\n"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_a_statement_says_is_in_its_hash(changes: dict[str, Any]) -> None:
    """And whoever writes a new hash beside it is found at the next link."""
    links = three()
    changed = replace(links[1].statement, **changes)
    (said,) = verify([links[0], replace(links[1], statement=changed), links[2]])
    assert "its content has" in said
    forged = replace(links[1], statement=changed, sha256=changed.sha256(links[1].previous_sha256))
    (said,) = verify([links[0], forged, links[2]])
    assert said.startswith(f"{links[2].statement.month} cc-3 (statement 3): follows")


def test_a_statement_that_is_left_out_is_missed() -> None:
    """At the beginning and in the middle; and its number with it."""
    first, second, third = three()
    assert [said.partition(":")[2].split()[0] for said in verify([first, third])] == ["want", "follows"]
    assert [said.partition(":")[2].split()[0] for said in verify([second, third])] == ["want", "follows"]


def test_two_that_changed_places_are_found() -> None:
    first, second, third = three()
    assert len(list(verify([second, first, third]))) > 2


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6), st.data())
def test_no_other_content_has_the_same_end(contents: list[bytes], data: st.DataObject) -> None:
    """The newest hash is over everything."""
    statements = [
        replace(STATEMENT, number=number, content=content) for number, content in enumerate(contents, start=1)
    ]
    place = data.draw(st.integers(0, len(contents) - 1))
    other = data.draw(st.binary(max_size=20).filter(lambda content: content != contents[place]))
    changed = [*statements]
    changed[place] = replace(statements[place], content=other)
    assert chained(statements)[-1].sha256 != chained(changed)[-1].sha256
