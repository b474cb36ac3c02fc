"""The tables of docs/arithmetic.md are what rating makes of what is said above them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from chargeback.core.hours import HOUR_MS, parse_hour
from chargeback.core.lines import Line
from chargeback.core.money import MS_PER_HOUR, format_micros, round_six
from chargeback.core.node_hour import Layout
from chargeback.core.owners.owners import Owner
from chargeback.core.policy import Policy
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import GPU_MONTH, Price, TierFactor
from tests.chargeback.core.rating.test_rating import HOUR, MODEL, book, card, held, mig, rate

DOCS = (Path(__file__).resolve().parents[2] / "docs/arithmetic.md").read_text()
MINUTE_MS = 60_000
START_MS = HOUR * HOUR_MS
FOUR_SHARES = card(layouts=(Layout(start=0, end=HOUR_MS, mig=False, shares=4),))


def owned(*changes: tuple[int, str, str | None]) -> list[Owner]:
    """Of namespace a: from so many minutes on, a cost center and a tier."""
    starts = [0, *(START_MS + minute * MINUTE_MS for minute, _, _ in changes[1:])]
    ends = [*starts[1:], None]
    return [
        Owner(namespace="a", from_ms=start, until_ms=end, cost_center=center, tier=tier)
        for start, end, (_, center, tier) in zip(starts, ends, changes, strict=True)
    ]


def slices(*instances: tuple[str, int, int], **terms: object) -> list[Line]:
    gpu, made = mig(*instances)
    return rate(gpu, *(held(each.uuid) for each in made), instances=made, **terms)  # type: ignore[arg-type]


def two_of_four(sharing: str) -> list[Line]:
    return rate(FOUR_SHARES, held(), held(namespace="b", share=1), policy=Policy(sharing=sharing))


EXAMPLES = {
    "seven slices": slices(*[("1g.10gb", 1, 1)] * 7),
    "three owners": rate(card(), held(), owners=owned((0, "cc-1", None), (20, "cc-2", None), (40, "cc-3", None))),
    "configured": two_of_four("configured"),
    "active": two_of_four("active"),
    "a tier": rate(
        card(),
        held(),
        owners=owned((0, "cc-1", None), (20, "cc-2", "spot")),
        prices=book("3.6", factors=[TierFactor(tier="spot", factor=Fraction(1, 2))]),
    ),
    "a month's price": slices(
        ("4g.40gb", 4, 4),
        ("1g.10gb", 1, 1),
        ("2g.20gb", 2, 2),
        hour=parse_hour("2026-02-03T10Z"),
        prices=PriceBook([Price(model=MODEL, unit=GPU_MONTH, amount=Fraction(2_016_000_000))]),
    ),
    "usage": rate(card(), held(busy_ms=396_000), prices=book("2.5"), policy=Policy(basis="usage")),
    "credit": rate(
        card(unhealthy=((15 * MINUTE_MS, 30 * MINUTE_MS),)), held(), policy=Policy(faulted="credit")
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", EXAMPLES)
def test_a_table_is_what_rating_makes_of_it(title: str) -> None:
    assert table(title) == rows(EXAMPLES[title])


def test_every_table_is_tested() -> None:
    assert re.findall(r"^\| ([^|]+) \| kind \|", DOCS, re.MULTILINE) == list(EXAMPLES)


def table(title: str) -> list[list[str]]:
    (found,) = re.findall(rf"^\| {title} \| kind .*\n\|[-|]+\n((?:\|.*\n)+)", DOCS, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found.splitlines()]


def rows(lines: Sequence[Line]) -> list[list[str]]:
    return [
        [
            line.account,
            line.kind,
            round_six(Fraction(line.gpu_ms_num, line.ms_den * MS_PER_HOUR)),
            format_micros(line.list_micros or 0),
            format_micros(line.amount_micros or 0),
        ]
        for line in lines
    ]
