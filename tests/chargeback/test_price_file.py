"""Price files: every problem at once, each with its place."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from chargeback.core.hours import parse_instant
from chargeback.core.prices.entries import ClassTier, Discount, Price, TierFactor
from chargeback.files.prices import PriceFileError, parse_prices, read_price_file
from tests.programs import chargeback

HEAD = "currency: USD\nprices:\n"


def problems(text: str) -> str:
    with pytest.raises(PriceFileError) as refused:
        parse_prices(text, "p.yaml")
    return str(refused.value)


def test_a_price_is_exact_whatever_its_digits() -> None:
    """Never through a float."""
    (price,) = parse_prices(f"{HEAD}  - {{model: X, price: 0.1, unit: gpu-hour}}\n", "p").prices
    assert price.amount == Fraction(100_000)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{model: X, price: 1}", "prices[0].unit: ''"),
        (
            "{model: X, price: 1, unit: day}",
            "prices[0].unit: 'day': want one of gpu-hour, instance-hour, node-hour, gpu-month",
        ),
        ("{price: 1, unit: gpu-hour}", "prices[0].model: missing"),
        ("{model: X, price: 1e3, unit: gpu-hour}", "prices[0].price: '1e3'"),
        ("{model: X, price: -1, unit: gpu-hour}", "prices[0].price: '-1': want zero or more"),
        ("{model: X, price: free, unit: gpu-hour}", "prices[0].price: 'free'"),
        ("{model: X, profile: 1g.10gb, price: 1, unit: gpu-hour}", "a MIG profile is priced by instance-hour"),
        ("{model: X, price: 1, unit: instance-hour}", "a MIG profile is priced by instance-hour"),
        ("{model: X, price: 1, unit: gpu-hour, from: 2026-10-01T10:30:00Z}", "want a whole UTC hour or a midnight"),
        ("{model: X, price: 1, unit: gpu-hour, from: 2026-10-02, until: 2026-10-01}", "want an instant after `from`"),
        ("{model: X, price: 1, unit: gpu-hour, from: 2026-10-01T10:00:00}", "want an offset"),
        ("{model: X, price: 1, unit: gpu-hour, tire: spot}", "prices[0].tire: not a key of this file"),
        ("{price: 1, unit: gpu-hour, pool: p}", "prices[0].model: missing"),
        ("{model: [X], price: 1, unit: gpu-hour}", "prices[0].model: ['X']: want a text"),
        ("{price: 1, unit: node-hour, profile: 1g}", "a MIG profile is priced by instance-hour"),
        ("{model: X, price: 1, unit: gpu-hour, sharing: some}", "sharing: 'some': want one of exclusive, shared"),
        ("{model: X, price: 1, unit: gpu-hour, term: ever}", "term: 'ever': want one of on-demand, reserved"),
        ("{model: X, price: 1, unit: gpu-hour, node_labels: zone}", "node_labels: 'zone': want a mapping"),
        ("{model: X, price: 1, unit: gpu-hour, node_labels: {-x: a}}", "node_labels.-x: want a Kubernetes label key"),
        ("{model: X, price: 1, unit: gpu-hour, node_labels: {zone: }}", "node_labels.zone: '': want a text"),
        ("{model: X, model: Y, price: 1, unit: gpu-hour}", "'model' comes twice"),
        ("{model: X, price: {{ price }}, unit: gpu-hour}", "p.yaml: not YAML: want a text as key"),
        ("{model: X, price: 1, unit: gpu-hour, cluster: ''}", "prices[0].cluster: '': want a text"),
        ("{model: X, price: 1, unit: gpu-hour, pool: }", "prices[0].pool: '': want a text"),
        ("{model: X, price: 1, unit: gpu-hour, tier: null}", "prices[0].tier: null: want a value, or no such key"),
        ("{price: 1, unit: node-hour, model: ~}", "prices[0].model: null: want a value"),
        ("{price: 1, unit: node-hour, node_labels: }", "prices[0].node_labels: '': want a mapping"),
        ("{price: 1, unit: node-hour, node_labels: null}", "prices[0].node_labels: null: want a value"),
        ("{model: X, price: 1, unit: gpu-hour, until: }", "prices[0].until: ''"),
        ("just text", "prices[0]: 'just text': want a mapping"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_named(entry: str, said: str) -> None:
    assert said in problems(f"{HEAD}  - {entry}\n")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("tiers: [{factor: 1}]", "tiers[0].tier: missing"),
        ("tiers: [{tier: t, factor: 1, profile: 1g}]", "tiers[0].profile: not a key of this file"),
        ("tiers: [x, {tier: t, factor: 1.0000001}]", "tiers[1].factor: '1.0000001': want at most 6 digits"),
        ("tiers: [{tier: t, factor: -1}]", "tiers[0].factor: '-1': want zero or more"),
        ("tiers: {tier: t, factor: 1}", "tiers: want a list"),
        ("discounts: [{contract: C, factor: 1}]", "discounts[0].cost_center: missing"),
        (
            "discounts: [{cost_center: 'platform:idle', factor: 1}]",
            "discounts[0].cost_center: 'platform:idle': is an",
        ),
        ("discounts: [{cost_center: unowned, factor: 1}]", "discounts[0].cost_center: 'unowned': is an account"),
        ("discounts: [{cost_center: c, factor: 1, pool: p}]", "discounts[0].pool: not a key of this file"),
        ("discounts: [{cost_center: c, factor: 1, cluster: null}]", "discounts[0].cluster: null: want a value"),
        ("priority_classes: [{priority_class: p}]", "priority_classes[0].tier: missing"),
        ("priority_classes: [{tier: t, until: soon}]", "priority_classes[0].until: 'soon': want an instant"),
        ("discount: []", "discount: not a key of this file, want one of currency, discounts, prices"),
    ],
)
def test_other_sections_are_checked_alike(section: str, said: str) -> None:
    assert said in problems(f"currency: USD\n{section}\n")


def test_null_is_no_name(tmp_path: Path) -> None:
    """As tools write what was not given. In quotes it is one."""
    text = f"""{HEAD}  - {{model: null, price: 1, unit: gpu-hour, tier: ~, node_labels: {{zone: Null}}}}
tiers: null
discounts: [{{cost_center: NULL, factor: 1, until: null}}]
"""
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(PriceFileError) as refused:
        read_price_file(str(file))
    places = ("prices[0].model", "prices[0].tier", "prices[0].node_labels.zone", "tiers", "discounts[0].cost_center")
    for place in (*places, "discounts[0].until"):
        assert f"{file}: {place}: null: want a value, or no such key\n" in f"{refused.value}\n"
    entry = "  - {model: X, tier: null, price: 1, unit: gpu-hour}\n"
    file.write_text(HEAD + entry.replace("null", '"null"'))
    assert [price.tier for price in read_price_file(str(file)).prices] == ["null"]


def test_every_kind_of_entry_is_read() -> None:
    """Labels in bytewise order of their keys, so that the order in the file tells nothing apart."""
    file = parse_prices(
        """
currency: EUR
prices:
  - {price: 8, unit: node-hour, node_labels: {zone: b, rack: a}}
  - {model: X, tier: t, term: reserved, sharing: shared, cluster: c, pool: p, price: 1, unit: gpu-month}
tiers: [{tier: t, factor: 0.5, model: X, cluster: c, pool: p}]
discounts: [{cost_center: rd, factor: 0.9, contract: C-1, model: X, cluster: c, from: 2026-10-01}]
priority_classes: [{priority_class: high, tier: t, until: 2026-10-01}]
""",
        "p.yaml",
    )
    at = parse_instant("2026-10-01")
    assert file.prices == (
        Price(model=None, unit="node-hour", amount=Fraction(8_000_000), node_labels=(("rack", "a"), ("zone", "b"))),
        Price(
            model="X",
            unit="gpu-month",
            amount=Fraction(1_000_000),
            tier="t",
            term="reserved",
            sharing="shared",
            cluster="c",
            pool="p",
        ),
    )
    assert file.factors == (TierFactor(tier="t", factor=Fraction(1, 2), model="X", cluster="c", pool="p"),)
    (discount,) = file.discounts
    assert discount == Discount(
        cost_center="rd", factor=Fraction("0.9"), contract="C-1", model="X", cluster="c", from_ms=at
    )
    assert file.classes == (ClassTier(priority_class="high", tier="t", until_ms=at),)
    book = file.book(version=7, timezone="Europe/Berlin")
    assert (book.version, book.timezone, len(book.entries)) == (7, "Europe/Berlin", 5)


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ("tiers: [{tier: t, factor: 1}, {tier: t, factor: 2}]", "tier t: two entries hold"),
        (
            "discounts: [{cost_center: c, factor: 1, contract: A}, {cost_center: c, factor: 2, contract: B}]",
            "cost_center c: two entries hold",
        ),
        (
            "priority_classes: [{priority_class: p, tier: t}, {priority_class: p, tier: u, from: 2026-10-01}]",
            "priority_class p: two entries hold at 2026-10-01T00:00:00Z",
        ),
        (
            "prices: [{model: X, price: 1, unit: gpu-hour, pool: a}, {model: X, price: 8, unit: node-hour, pool: a}]",
            "model X, pool a: two entries hold",
        ),
    ],
)
def test_what_is_for_the_same_must_not_hold_twice(section: str, named: str) -> None:
    """Both are named; neither contract nor unit tells them apart."""
    place = section.partition(":")[0]
    said = problems(f"currency: USD\n{section}\n")
    assert named in said
    assert f"{place}[0] and {place}[1]: want an `until` on the earlier one" in said


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(b"\xff")
    with pytest.raises(PriceFileError, match="want UTF-8"):
        read_price_file(str(tmp_path / "p.yaml"))


def test_two_prices_of_one_thing_must_not_hold_at_once() -> None:
    entries = "  - {model: X, price: 1, unit: gpu-hour}\n  - {model: X, price: 2, unit: gpu-hour, from: 2026-10-01}\n"
    assert "X: two entries hold at 2026-10-01T00:00:00Z" in problems(HEAD + entries)
    ended = entries.replace("gpu-hour}\n", "gpu-hour, until: 2026-10-01}\n", 1)
    first, second = parse_prices(HEAD + ended, "p").prices
    assert first.until_ms == second.from_ms == parse_instant("2026-10-01")


def test_all_problems_come_together() -> None:
    said = problems("currency: euro\nprices:\n  - {model: X}\ntiers:\n  - {tier: spot, factor: half}\n")
    for part in ("currency: 'euro'", "prices[0].unit", "prices[0].price", "tiers[0].factor: 'half'"):
        assert part in said
    assert problems("- 1\n").startswith("p.yaml: want a mapping")
    assert "not YAML" in problems("a: [")


def test_the_built_in_prices_are_valid() -> None:
    assert len(read_price_file("default").prices) > 10


def test_check_says_what_is_in_a_file_or_wrong_with_it(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"{HEAD}  - {{model: X, price: 1, unit: gpu-hour}}\n")
    bad.write_text(f"{HEAD}  - {{model: X, price: 1}}\n")
    assert (
        "1 prices, 0 tier factors, 0 discounts, 0 priority classes, USD"
        in chargeback("prices", "check", str(good)).stdout.decode()
    )
    ended = chargeback("prices", "check", str(bad), check=False)
    assert (ended.returncode, "prices[0].unit" in ended.stderr.decode()) == (2, True)
