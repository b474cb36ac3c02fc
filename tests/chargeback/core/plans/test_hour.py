"""Settling by hand: small hours whose amounts are worked out beside them. On demand 3.00, reserved 2.00 an hour."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from chargeback.core.hours import HOUR_MS, parse_hour
from chargeback.core.lines import (
    BURST,
    DISCOUNT_KIND,
    FAULTED,
    GAP,
    GAP_KIND,
    HELD,
    OVERSOLD,
    RESERVED,
    UNPRICED,
    UNSOLD,
    UNUSED,
)
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.plans.book import FILE
from chargeback.core.policy import Policy
from chargeback.core.prices.book import GPU_HOUR, INSTANCE_HOUR, NODE_HOUR, Price, PriceBook
from chargeback.core.prices.entries import RESERVED as TERM_RESERVED
from tests.chargeback.core.planned import A100, H100, HALF, PRICES, START_MS, idle, line, plan, settled, sums

MILLION = 1_000_000


def test_an_hour_without_plans_comes_back_as_it_is() -> None:
    lines = [line(), idle()]
    found, problems = settled(lines)
    assert (sorted(found, key=repr), problems) == (sorted(lines, key=repr), [])


def test_what_is_held_within_the_guarantee_is_reserved() -> None:
    """One of two units is used: 2.00 reserved, 2.00 unused, which the free card backs; list stays at 3.00."""
    found, problems = settled([line(), idle()], plan(2))
    assert problems == []
    assert sums(found) == {
        ("cc-a", "reserved"): (1, 3 * MILLION, 2 * MILLION),
        ("cc-a", "unused"): (1, 0, 2 * MILLION),
        ("platform:discount", "discount"): (0, 0, MILLION),
        ("platform:idle", "backed"): (0, 0, -2 * MILLION),
        ("platform:idle", "free"): (1, 3 * MILLION, 3 * MILLION),
    }
    (reserved,) = (each for each in found if each.kind == RESERVED)
    assert (reserved.unit_price, reserved.plan_version, reserved.allocation_micros) == (2 * MILLION, 1, 3 * MILLION)
    (unused,) = (each for each in found if each.kind == UNUSED)
    assert (unused.node, unused.device, unused.sku, unused.team) == ("", "plan", "gpu.h100-80gb-hbm3", "team-a")


def test_a_guarantee_counts_across_nodes() -> None:
    """The example of the design: 8 guaranteed, 6 held on each of two nodes: 8 reserved, 4 burst, 0 unused."""
    lines = [line(f"GPU-{node}{n}", node=node, pod=f"{node}-{n}") for node in ("n1", "n2") for n in range(6)]
    found, problems = settled(lines, plan(8))
    assert problems == []
    assert sums(found) == {
        ("cc-a", "burst"): (4, 12 * MILLION, 12 * MILLION),
        ("cc-a", "reserved"): (8, 24 * MILLION, 16 * MILLION),
        ("platform:discount", "discount"): (0, 0, 8 * MILLION),
    }
    burst = sorted(each.pod for each in found if each.kind == BURST)
    assert burst == ["n2-2", "n2-3", "n2-4", "n2-5"]  # bytewise by holder, for all began at once


def test_who_came_first_is_reserved() -> None:
    """One unit: z holds from the start, b comes at the half; when z is gone b fills the unit."""
    lines = [line("GPU-1", 0, 3 * HOUR_MS // 4, pod="z"), line("GPU-2", HALF, HOUR_MS, pod="b")]
    found, _ = settled(lines, plan(1))
    shown = [
        (each.pod, each.kind, each.start_ms - START_MS, each.end_ms - START_MS, each.amount_micros)
        for each in found
        if each.kind != DISCOUNT_KIND
    ]
    assert shown == [
        ("z", "reserved", 0, 3 * HOUR_MS // 4, 1_500_000),
        ("b", "burst", HALF, 3 * HOUR_MS // 4, 750_000),
        ("b", "reserved", 3 * HOUR_MS // 4, HOUR_MS, 500_000),
    ]


def test_a_holder_killed_and_back_begins_anew() -> None:
    """It lost its place to one that came before it came back; the unit is free in between, and paid."""
    quarter = HOUR_MS // 4
    lines = [
        line("GPU-1", 0, quarter, pod="a"),
        line("GPU-2", 2 * quarter, HOUR_MS, pod="b"),
        line("GPU-1", 3 * quarter, HOUR_MS, pod="a"),
    ]
    found, _ = settled(lines, plan(1))
    assert [(each.pod, each.kind, each.amount_micros) for each in found if each.kind != DISCOUNT_KIND] == [
        ("", "unbacked", -500_000),
        ("", "unused", 500_000),
        ("a", "reserved", 500_000),
        ("a", "burst", 750_000),
        ("b", "reserved", 1_000_000),
    ]


def test_a_holding_that_rating_has_cut_is_unbroken() -> None:
    """A change of owner cuts a line; who holds on keeps its place before who came in between."""
    lines = [
        line("GPU-1", 0, HALF, pod="z", owner_version=1),
        line("GPU-1", HALF, HOUR_MS, pod="z", owner_version=2),
        line("GPU-2", 1000, HOUR_MS, pod="b"),
    ]
    found, _ = settled(lines, plan(1))
    assert {each.pod for each in found if each.kind == RESERVED} == {"z"}
    assert {each.pod for each in found if each.kind == BURST} == {"b"}


def test_a_guarantee_that_changes_within_the_hour() -> None:
    """2 units, from the half on 1: each version's units telescope from the hour's start."""
    lines = [line("GPU-1"), line("GPU-2")]
    plans = [plan(2, until_ms=START_MS + HALF), plan(1, from_ms=START_MS + HALF, version=2)]
    found, _ = settled(lines, *plans)
    assert sums(found) == {
        ("cc-a", "burst"): (Fraction(1, 2), 1_500_000, 1_500_000),
        ("cc-a", "reserved"): (Fraction(3, 2), 4_500_000, 3 * MILLION),
        ("platform:discount", "discount"): (0, 0, 1_500_000),
    }
    assert [each.plan_version for each in found if each.kind in (RESERVED, BURST)] == [1, 2, 1, 2]
    found, _ = settled([], *plans, plan(1, "b", version=1, price_key=H100))
    assert all(each.account in (UNPRICED, "cc-b", OVERSOLD) for each in found)


def test_an_owner_that_changes_within_the_hour_pays_what_is_unused_from_then_on() -> None:
    """The tier of each prices the unit: 2.00, then half of it."""
    change = START_MS + HALF
    owners = OwnerBook(
        [
            Owner(namespace="a", from_ms=0, until_ms=change, cost_center="cc-1", version=1),
            Owner(namespace="a", from_ms=change, cost_center="cc-2", tier="spot", version=2),
        ]
    )
    prices = PriceBook(
        [*PRICES.prices, Price(model=H100, unit=GPU_HOUR, tier="spot", amount=Fraction(MILLION), term=TERM_RESERVED)]
    )
    found, _ = settled([idle()], plan(1), owners=owners, prices=prices)
    assert [(each.account, each.kind, each.amount_micros) for each in found if each.node == ""] == [
        ("platform:idle", "backed", -MILLION),
        ("cc-1", "unused", MILLION),
        ("platform:idle", "backed", -500_000),
        ("cc-2", "unused", 500_000),
    ]


def test_two_namespaces_of_an_oversold_cluster() -> None:
    """Three are guaranteed and one card is there, and free: it backs the first namespace, bytewise; the rest is
    oversold."""
    found, problems = settled([idle()], plan(1, "a"), plan(2, "b"))
    assert problems == []
    shown = {key: amount for key, (_, _, amount) in sums(found).items()}
    assert shown == {
        ("cc-a", "unused"): 2 * MILLION,
        ("cc-b", "unused"): 4 * MILLION,
        ("platform:idle", "backed"): -2 * MILLION,
        ("platform:idle", "free"): 3 * MILLION,
        ("platform:oversold", "unbacked"): -4 * MILLION,
    }


def test_half_of_what_is_guaranteed_is_backed() -> None:
    """By time: the card is free for a quarter of an hour, half an hour is unused."""
    lines = [
        line("GPU-1", 0, HALF),
        line("GPU-1", HALF, 3 * HOUR_MS // 4, namespace="b"),
        idle("GPU-1", 3 * HOUR_MS // 4),
    ]
    found, _ = settled(lines, plan(1))
    shown = {key: amount for key, (_, _, amount) in sums(found).items()}
    assert shown[("platform:idle", "backed")] == shown[("platform:oversold", "unbacked")] == -500_000


def test_shares_count_as_ids_and_weigh_what_a_slot_weighs() -> None:
    """Three of four shares of a card, two guaranteed: 2 × 0.50 reserved, 0.75 burst. One holder, cut by shares."""
    found, _ = settled(
        [line(shares="0,1,3", weight=Fraction(1, 4)), idle("GPU-1", kind=UNSOLD, weight=Fraction(1, 4))], plan(2)
    )
    assert sums(found)[("cc-a", "reserved")] == (Fraction(1, 2), 1_500_000, MILLION)
    assert sums(found)[("cc-a", "burst")] == (Fraction(1, 4), 750_000, 750_000)
    assert {each.kind: each.shares for each in found if each.kind in (RESERVED, BURST)} == {
        "reserved": "0,1",
        "burst": "3",
    }


def test_unused_shares_are_backed_by_unsold_ones() -> None:
    """Nobody holds any: what is unsold says that it was offered in four."""
    found, problems = settled([idle("GPU-1", kind=UNSOLD, shares="0,1,2,3", weight=Fraction(1, 4))], plan(2))
    assert problems == []
    assert sums(found)[("cc-a", "unused")] == (Fraction(1, 2), 0, MILLION)
    assert sums(found)[("platform:idle", "backed")] == (0, 0, -MILLION)


def test_slots_of_two_sizes_under_one_name_are_no_unit() -> None:
    """A whole card and a share are both `nvidia.com/gpu`: what a guaranteed one is cannot be told."""
    lines = [line("GPU-1"), line("GPU-2", namespace="b", weight=Fraction(1, 4))]
    found, problems = settled(lines, plan(2))
    assert [(each.kind, each.subject) for each in problems] == [
        ("unpriced plan", f"a: devices of {H100} are 1 and 1/4 of a card: want a resource for each")
    ]
    assert sums(found)[(UNPRICED, "unused")] == (1, None, None)
    assert sorted(each.kind for each in found if each.namespace) == [HELD, HELD, UNUSED]


def test_what_a_name_stood_for_before_a_plan_is_nothing_to_it() -> None:
    """Cards were cut into shares in the hour's first half, for somebody else; the plan begins with its second."""
    lines = [line("GPU-1"), line("GPU-2", 0, HALF, namespace="b", weight=Fraction(1, 4))]
    found, problems = settled(lines, plan(1, from_ms=START_MS + HALF))
    assert problems == []
    assert sums(found)[("cc-a", "reserved")] == (Fraction(1, 2), 1_500_000, MILLION)


def test_time_in_which_nobody_saw_a_resource_has_its_unit_of_the_rest_of_the_hour() -> None:
    """An agent began in mid-hour, and the plan was read anew then: what was guaranteed before has a price as well."""
    resource = "nvidia.com/mig-1g.10gb"
    seen = line("MIG-1", HALF, profile="1g.10gb", weight=Fraction(1, 7), resource=resource)
    until = plan(1, resource=resource, until_ms=START_MS + HALF)
    since = plan(1, resource=resource, from_ms=START_MS + HALF, version=2)
    found, problems = settled([seen], until, since)
    assert problems == []
    assert sums(found)[("cc-a", "unused")] == (Fraction(1, 14), 0, MILLION // 7)


def test_a_gap_does_not_say_how_large_an_instance_is() -> None:
    """An agent was away; of two shares of an instance one was held on, and what became of the other is no line."""
    resource, gap = "nvidia.com/mig-1g.10gb.shared", 3 * HOUR_MS // 4
    share = {"profile": "1g.10gb", "weight": Fraction(1, 14), "parent": "GPU-1"}
    lines = [
        line("MIG-1", 0, gap, resource=resource, **share),
        idle("MIG-1", 0, gap, kind=UNSOLD, shares="1", **share),
        line("MIG-1", gap, resource=resource, evidence="api", **share),
        replace(idle("GPU-1", gap, weight=Fraction(13, 14)), account=GAP, kind=GAP_KIND),
    ]
    found, problems = settled(lines, plan(2, resource=resource))
    assert problems == []
    assert sums(found)[("cc-a", "reserved")] == (Fraction(1, 14), 214_285, MILLION // 7)
    assert sums(found)[("cc-a", "unused")] == (Fraction(1, 14), 0, MILLION // 7)


def test_renamed_shares_are_another_resource() -> None:
    """`nvidia.com/gpu.shared` beside whole cards: each plan counts its own."""
    shared = "nvidia.com/gpu.shared"
    lines = [line("GPU-1"), line("GPU-2", weight=Fraction(1, 4), resource=shared, pod="s")]
    found, problems = settled(lines, plan(1), plan(2, resource=shared, layer=FILE, version=2))
    assert problems == []
    assert sums(found)[("cc-a", "reserved")] == (Fraction(5, 4), 3_750_000, 2_500_000)
    assert sums(found)[("cc-a", "unused")] == (Fraction(1, 4), 0, 500_000)


def test_a_share_of_an_instance_that_is_not_there_is_no_whole_one() -> None:
    """No card in this hour: what part of an instance a renamed share would be nothing tells."""
    resource = "nvidia.com/mig-1g.10gb"
    instance = Price(model=A100, unit=INSTANCE_HOUR, profile="1g.10gb", amount=Fraction(500_000), term=TERM_RESERVED)
    prices = PriceBook([Price(model=A100, unit=GPU_HOUR, amount=Fraction(2_100_000)), instance])
    whole = plan(2, resource=resource, price_key=f"{A100} / 1g.10gb", layer=FILE)
    found, problems = settled([], whole, prices=prices)
    assert sums(found)[("cc-a", "unused")] == (2, 0, MILLION)
    assert problems == []
    found, problems = settled([], replace(whole, resource=f"{resource}.shared"), prices=prices)
    assert sums(found) == {(UNPRICED, "unused"): (2, None, None)}
    assert [each.kind for each in problems] == ["unpriced plan"]


def test_what_a_running_hour_has_not_seen_yet_is_not_without_a_price() -> None:
    """An agent has begun and seen no card yet. Over, the hour says that nothing tells; without a price it says so."""
    key = f"{A100} / 3g.40gb"
    slices = plan(4, resource="nvidia.com/mig-3g.40gb", price_key=key, layer=FILE)
    gap = replace(idle("GPU-1", 0, HALF, model=A100), account=GAP, kind=GAP_KIND)
    assert settled([gap], slices, until=HALF) == ([gap], [])
    seen = idle("MIG-1", HALF, HALF + 1000, model=A100, profile="3g.40gb", weight=Fraction(3, 7), parent="GPU-1")
    found, _ = settled([gap, seen], slices, until=HALF + 1000)
    assert sums(found)[("cc-a", "unused")][2] == 4 * (1_500_000 * 3 * (HALF + 1000) // 7 // HOUR_MS)
    for until, prices in ((HOUR_MS, PRICES), (HALF, PriceBook([]))):
        found, problems = settled([gap], slices, until=until, prices=prices)
        assert sums(found)[(UNPRICED, "unused")] == (Fraction(4 * until, HOUR_MS), None, None)
        assert [each.kind for each in problems] == ["unpriced plan"]


def test_several_models_want_a_price_key() -> None:
    """Without one it has no price, and what is held is billed as without a plan; with one its model fills it."""
    lines = [line("GPU-1"), line("GPU-2", model=A100, pod="other")]
    found, problems = settled(lines, plan(3))
    assert [(each.kind, each.subject) for each in problems] == [
        ("unpriced plan", f"a: the cluster has cards of {A100} and {H100}: want a price key")
    ]
    assert problems[0].ms == 3 * HOUR_MS
    (unused,) = (each for each in found if each.kind == UNUSED)
    assert (unused.account, unused.sku, unused.amount_micros, unused.list_micros) == (
        UNPRICED,
        "nvidia.com/gpu",
        None,
        None,
    )
    assert Fraction(unused.quantity_ms_num, unused.ms_den) == HOUR_MS
    assert [each for each in found if each.kind == HELD] == lines
    for key in (H100, "gpu.h100-80gb-hbm3"):
        found, problems = settled(lines, plan(1, price_key=key))
        assert problems == []
        assert {(each.kind, each.pod) for each in found if each.kind != DISCOUNT_KIND} == {
            ("reserved", "a-GPU-1"),
            ("burst", "other"),
        }


def test_plans_of_two_models_under_one_name() -> None:
    """A file may guarantee devices of each."""
    lines = [line("GPU-1"), line("GPU-2", model=A100, pod="other")]
    plans = [plan(1, price_key=H100, layer=FILE), plan(2, price_key=A100, layer=FILE, version=2)]
    found, problems = settled(lines, *plans)
    assert problems == []
    assert sums(found)[("cc-a", "reserved")] == (2, 5_100_000, 3_500_000)
    assert sums(found)[("cc-a", "unused")] == (1, 0, 1_500_000)
    assert len({each.line_id for each in found}) == len(found)


def test_a_price_key_that_nobody_sells() -> None:
    """Neither the model nor the sku has a price: quantity only."""
    for key, why in (("NVIDIA L4", "NVIDIA L4 has no price"), ("gpu.l4", "gpu.l4 is the sku of no model here")):
        found, problems = settled([idle()], plan(1, price_key=key))
        assert [each.subject for each in problems] == [f"a: {why}"]
        assert sums(found)[(UNPRICED, "unused")] == (1, None, None)


def test_cards_that_are_priced_by_the_node_want_a_price_of_a_card() -> None:
    """A guarantee names no node, so a node's price is none of a unit's; a reserved price of the model is."""
    node = Price(model=None, unit=NODE_HOUR, amount=Fraction(24 * MILLION))
    _, problems = settled([line()], plan(1), prices=PriceBook([node]))
    assert [each.subject for each in problems] == [
        f"a: {H100} is priced by the node: want a price of a card, reserved or not"
    ]
    reserved = Price(model=H100, unit=GPU_HOUR, amount=Fraction(2 * MILLION), term=TERM_RESERVED)
    found, problems = settled([line()], plan(1), prices=PriceBook([node, reserved]))
    assert (problems, sums(found)[("cc-a", "reserved")]) == ([], (1, 3 * MILLION, 2 * MILLION))


def test_a_plan_is_paid_in_an_hour_without_any_line() -> None:
    """The cluster has node-hours and no card: nothing backs the guarantee."""
    found, problems = settled([], plan(2, price_key=H100))
    assert problems == []
    assert sums(found) == {
        ("cc-a", "unused"): (2, 0, 4 * MILLION),
        ("platform:oversold", "unbacked"): (0, 0, -4 * MILLION),
    }
    assert [each.subject for each in settled([], plan(2))[1]] == ["a: the cluster has no cards: want a price key"]


def test_midnight_within_the_hour() -> None:
    """In Kolkata 18:30 UTC: units are filled anew from midnight, and telescope from there."""
    hour = parse_hour("2026-10-03T18Z")
    policy = Policy(timezone="Asia/Kolkata")
    half = {"hour": hour, "timezone": "Asia/Kolkata"}
    lines = [
        line("GPU-1", 0, HALF, pod="z", **half),
        line("GPU-1", HALF, HOUR_MS, pod="z", **half),
        line("GPU-2", 1000, HALF, pod="b", **half),
        line("GPU-2", HALF, HOUR_MS, pod="b", **half),
    ]
    found, _ = settled(lines, plan(1), hour=hour, policy=policy)
    shown = [(each.day, each.pod, each.amount_micros) for each in found if each.kind == RESERVED]
    assert shown == [("2026-10-03", "z", MILLION), ("2026-10-04", "b", MILLION)]


def test_waived_time_fills_a_unit_and_costs_nothing() -> None:
    """Faulted for half an hour: reserved for the other half, nothing unused."""
    lines = [line("GPU-1", 0, HALF, kind=FAULTED), line("GPU-1", HALF, HOUR_MS)]
    found, _ = settled(lines, plan(1))
    shown = {key: amount for key, (_, _, amount) in sums(found).items()}
    assert shown == {
        ("cc-a", "faulted"): 0,
        ("cc-a", "reserved"): MILLION,
        ("platform:discount", "discount"): 2 * MILLION,
    }


def test_claims_and_parts_of_a_scheduler_fill_no_unit() -> None:
    """They hold no id of the resource."""
    lines = [line("GPU-1", claim="a/c"), line("GPU-2", evidence="reservation", weight=Fraction(1, 2))]
    found, _ = settled([*lines, idle()], plan(1))
    assert [each for each in found if each.kind == HELD] == lines
    assert sums(found)[("cc-a", "unused")] == (1, 0, 2 * MILLION)


def test_basis_usage_never_lowers_what_is_reserved() -> None:
    """Two cards, a tenth of each busy, one guaranteed: 2.00 reserved, 0.30 of the other."""
    busy = HOUR_MS // 10
    lines = [line(f"GPU-{n}", used_num=busy, busy_ms=busy, pod=f"p{n}") for n in (1, 2)]
    found, _ = settled(lines, plan(1), policy=Policy(basis="usage"))
    shown = {key: amount for key, (_, _, amount) in sums(found).items()}
    assert shown == {
        ("cc-a", "burst"): 300_000,
        ("cc-a", "idle-held"): 0,
        ("cc-a", "reserved"): 2 * MILLION,
        ("platform:discount", "discount"): 1_000_000 + 2_700_000,
    }


def test_instances_of_a_profile() -> None:
    """Two of a card's seven slices at 0.50 an instance, reserved at 0.35; the resource names the profile."""
    prices = PriceBook(
        [
            Price(model=A100, unit=GPU_HOUR, amount=Fraction(2_100_000)),
            Price(model=A100, unit=INSTANCE_HOUR, profile="1g.10gb", amount=Fraction(500_000)),
            Price(model=A100, unit=INSTANCE_HOUR, profile="1g.10gb", amount=Fraction(350_000), term=TERM_RESERVED),
        ]
    )
    seventh = {"model": A100, "profile": "1g.10gb", "weight": Fraction(1, 7), "parent": "GPU-1"}
    held = replace(
        line("MIG-1", hourly=Fraction(500_000), resource="nvidia.com/mig-1g.10gb", **seventh),
        unit=INSTANCE_HOUR, quantity_ms_num=7 * HOUR_MS,
    )  # fmt: skip
    found, problems = settled(
        [replace(held, amount_micros=500_000, allocation_micros=500_000), idle("MIG-2", **seventh)],
        plan(2, resource="nvidia.com/mig-1g.10gb"),
        prices=prices,
    )
    assert problems == []
    assert sums(found)[("cc-a", "reserved")] == (1, 300_000, 350_000)
    assert sums(found)[("cc-a", "unused")] == (1, 0, 350_000)
    assert sums(found)[("platform:idle", "backed")] == (0, 0, -350_000)


def test_a_card_in_mig_mode_is_no_card_of_the_plan() -> None:
    """Instances offered as `nvidia.com/gpu` (one profile on all cards) want a price key: they are no cards."""
    held = line("MIG-1", profile="1g.10gb", weight=Fraction(1, 7), parent="GPU-1")
    _, problems = settled([held], plan(1))
    assert [each.subject for each in problems] == ["a: holds 1g.10gb as nvidia.com/gpu: want a price key"]
    found, problems = settled([held], plan(1, price_key=f"{H100} / 1g.10gb"))
    assert problems == []
    assert [each.kind for each in found if each.namespace] == [DISCOUNT_KIND, RESERVED]


def test_a_guarantee_of_what_others_hold_as_instances_is_no_card_either() -> None:
    """Its own namespace holds nothing: for a unit of one slice it would pay a card. A free one may be meant."""
    held = line("MIG-1", profile="1g.10gb", weight=Fraction(1, 7), parent="GPU-1", namespace="b")
    found, problems = settled([held], plan(1))
    assert [each.subject for each in problems] == ["a: nvidia.com/gpu is 1g.10gb here: want a price key"]
    assert sums(found)[(UNPRICED, "unused")] == (1, None, None)
    found, problems = settled([held, idle("GPU-2")], plan(1))
    assert problems == []
    assert sums(found)[("cc-a", "unused")] == (1, 0, 2 * MILLION)


def test_contradictory_plans_are_a_problem_and_no_number() -> None:
    """What is held is billed as without a plan."""
    found, problems = settled([line()], plan(None, problem="8, but ResourceQuota a/b says 4"))
    assert [(each.kind, each.subject, each.ms) for each in problems] == [
        ("contradictory plan", "a: 8, but ResourceQuota a/b says 4", HOUR_MS)
    ]
    assert found == [line()]


def test_a_cap_alone_is_no_guarantee() -> None:
    assert settled([line()], plan(None, cap=4)) == ([line()], [])


def test_a_plan_that_is_taken_away_leaves_the_lines_as_they_were() -> None:
    lines = [line("GPU-1", 0, HALF), line("GPU-2"), idle()]
    before, _ = settled(lines)
    with_plan, _ = settled(lines, plan(1))
    assert settled(with_plan) == (before, [])


def test_a_running_hour_is_unused_no_further_than_it_was_rated() -> None:
    """A quarter of an hour so far."""
    quarter = HOUR_MS // 4
    found, _ = settled([line("GPU-1", 0, quarter)], plan(2), until=quarter)
    assert sums(found)[("cc-a", "reserved")][2] == sums(found)[("cc-a", "unused")][2] == 500_000


@pytest.mark.parametrize("hourly", [1, 333_333, 1_999_999])
def test_units_cost_the_same_whoever_fills_them(hourly: int) -> None:
    """Reserved and unused of a unit together are ⌊price × time⌋, however odd the price and the instants."""
    prices = PriceBook(
        [*PRICES.prices[:1], Price(model=H100, unit=GPU_HOUR, amount=Fraction(hourly), term=TERM_RESERVED)]
    )
    lines = [line("GPU-1", 7, 1_234_567), line("GPU-2", 999_999, 3_599_999, pod="b")]
    found, _ = settled(lines, plan(2), prices=prices)
    assert sum(each.amount_micros or 0 for each in found if each.kind in (RESERVED, UNUSED)) == 2 * hourly


def test_a_plan_that_is_gone_leaves_no_trace() -> None:
    """Half an instance of two sevenths is no whole number of sevenths: while the plan holds its lines have another
    denominator."""
    profile = "2g.20gb"
    lines = [
        line("MIG-1", model=A100, profile=profile, weight=Fraction(1, 7), shares=str(n), parent="GPU-1")
        for n in (0, 1)
    ]
    reserved = Price(model=A100, unit=INSTANCE_HOUR, profile=profile, amount=Fraction(400_000), term=TERM_RESERVED)
    prices = PriceBook([*PRICES.prices, reserved])
    found, problems = settled(lines, plan(1, price_key=f"{A100} / {profile}"), prices=prices)
    assert problems == []
    assert [(each.kind, each.ms_den, each.amount_micros) for each in found if each.kind != DISCOUNT_KIND] == [
        ("reserved", 14, 200_000),
        ("burst", 7, 300_000),
    ]
    assert settled(found, prices=prices) == (lines, [])
