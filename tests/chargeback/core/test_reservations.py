"""Cards that a scheduler shares out: the pods behind a reservation have its slot, by their parts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from chargeback.core.hours import HOUR_MS
from chargeback.core.lives import PodLife
from chargeback.core.node_hour import Holding
from chargeback.core.pods import GroupPart
from chargeback.core.policy import Policy
from tests.chargeback.core.two_meters import MEMORY_MIB, Told, card, instance, life, ms, saw

KAI = "kai-resource-reservation"
UNATTRIBUTED = "platform:unattributed"
RESERVE = f"{KAI}/reserve-g1"


def reservation(group: str = "g1", device: str = "GPU-1", namespace: str = KAI) -> tuple[Holding, PodLife]:
    """A pod that holds a card for a group through the hour, as agents and as the API see it."""
    pod = f"reserve-{group}"
    part = GroupPart(groups=(group,), container="main")
    return saw(pod, 0, 60, device, namespace=namespace), life(pod, -1, namespace=namespace, seen=-1, part=part)


def user(pod: str, portion: str | None = None, *groups: str, bound: float = -1, **changes: Any) -> PodLife:
    part = GroupPart(
        groups=groups or ("g1",),
        container="main",
        portion=None if portion is None else Fraction(portion),
        memory_mib=changes.pop("memory_mib", None),
    )
    return life(pod, bound, changes.pop("ended", None), asks=(), part=part, **changes)


def told(*users: PodLife, namespace: str = KAI) -> Told:
    held, own = reservation(namespace=namespace)
    return Told(gpus=(card(),), saw=(held,), lives=(own, *users))


def parts(told: Told) -> dict[tuple[str, str], Fraction]:
    """Minutes of the card by account and pod, of what is held; the reservation itself must have none."""
    lines, _ = told.rated()
    found: dict[tuple[str, str], Fraction] = {}
    for line in lines:
        assert "reserv" not in line.namespace
        if line.kind == "held":
            key = (line.account, line.pod)
            found[key] = found.get(key, Fraction(0)) + Fraction(line.gpu_ms_num, line.ms_den * 60_000)
    return found


@pytest.mark.parametrize("namespace", [KAI, "runai-reservation"])
def test_two_users_of_a_half_each(namespace: str) -> None:
    """Each pays half, and the money adds up to the micro with what halves leave over."""
    case = told(user("p", "1/2"), user("q", "0.5", namespace="b"), namespace=namespace)
    assert parts(case) == {("cc-a", "p"): 30, ("cc-b", "q"): 30}
    lines, problems = case.rated()
    assert not problems
    assert sorted((line.account, line.list_micros) for line in lines) == [
        ("cc-a", 1_800_000),
        ("cc-b", 1_800_000),
        ("platform:idle", 1),
    ]
    assert {line.evidence for line in lines if line.kind == "held"} == {"reservation"}


def test_what_no_user_names_is_unattributed() -> None:
    """A quarter is used."""
    assert parts(told(user("p", "0.25"))) == {("cc-a", "p"): 15, (UNATTRIBUTED, RESERVE): 45}


def test_a_reservation_without_users_is_unattributed() -> None:
    """It holds the card, and for whom is not known."""
    assert parts(told()) == {(UNATTRIBUTED, RESERVE): 60}


@pytest.mark.parametrize("other", [{"group": "g2"}, {"namespace": "runai-reservation"}])
def test_two_reservations_of_one_slot_have_each_their_line(other: dict[str, str]) -> None:
    """Whoever gave it away twice: a line that had the other's key could not be stored."""
    (first, _), (second, _) = reservation(), reservation(**other)
    case = Told(gpus=(card(),), saw=(first, second), lives=())
    assert parts(case) == {(UNATTRIBUTED, RESERVE): 60, (UNATTRIBUTED, f"{second.namespace}/{second.pod}"): 60}
    lines, _ = case.rated()
    assert len({line.line_id for line in lines}) == len(lines)
    assert sum(Fraction(line.gpu_ms_num, line.ms_den) for line in lines) == HOUR_MS


def test_a_reservation_that_the_api_does_not_know_is_unattributed() -> None:
    held, _ = reservation()
    assert parts(Told(gpus=(card(),), saw=(held,), lives=(user("p", "0.5"),))) == {(UNATTRIBUTED, RESERVE): 60}


def test_a_user_who_comes_and_goes_within_the_hour() -> None:
    """From bind to end; before and after it is nobody's."""
    assert parts(told(user("p", "0.5", bound=10, ended=40))) == {("cc-a", "p"): 15, (UNATTRIBUTED, RESERVE): 45}


def test_of_two_users_of_one_name_the_later_is_there() -> None:
    """One deleted by force was last known to live when its successor was bound, to the second: no two have a name."""
    first = user("p", "0.5", bound=-1, ended=30.01, uid="first")
    second = user("p", "0.25", bound=30, uid="second")
    for case in (told(first, second), told(second, first)):
        lines, problems = case.rated()
        assert len({line.line_id for line in lines}) == len(lines)
        assert not problems
        assert parts(case) == {("cc-a", "p"): 22.5, (UNATTRIBUTED, RESERVE): 37.5}


def test_a_user_whose_end_is_not_known_exactly_pays_as_long_as_he_certainly_lived() -> None:
    assert parts(told(user("p", "0.5", bound=10, ended=40, alive=30))) == {
        ("cc-a", "p"): 10,
        (UNATTRIBUTED, RESERVE): 50,
    }


def test_memory_is_a_part_of_the_cards_memory() -> None:
    """A tenth of its MiB."""
    assert parts(told(user("p", memory_mib=MEMORY_MIB // 10))) == {("cc-a", "p"): 6, (UNATTRIBUTED, RESERVE): 54}


def test_memory_of_a_device_whose_size_is_not_known_is_nobodys() -> None:
    """An instance of a card: what part of it that memory is cannot be said."""
    held, own = reservation(device="MIG-1")
    case = Told(
        gpus=(card(mig=True),), instances=(instance("MIG-1"),), saw=(held,), lives=(own, user("p", memory_mib=1))
    )
    assert parts(case) == {(UNATTRIBUTED, RESERVE): Fraction(60, 7)}


def test_more_than_the_whole_is_shared_out_in_proportion_and_told() -> None:
    """Three quarters and a half make one and a quarter: 3/5 and 2/5, and a quarter too much."""
    case = told(user("p", "0.75"), user("q", "0.5"))
    assert parts(case) == {("cc-a", "p"): 36, ("cc-a", "q"): 24}
    _, problems = case.rated()
    assert [(each.kind, each.subject, each.ms) for each in problems] == [
        ("overcommitted", "reserve-g1 on GPU-1", ms(15))
    ]


def test_more_than_a_whole_card_is_no_portion() -> None:
    """Whatever a user writes: it takes nothing from the others, and its numbers fit."""
    case = told(user("p", "1000000000000000000"), user("m", memory_mib=10**18), user("q", "0.5"))
    assert parts(case) == {("cc-a", "q"): 30, (UNATTRIBUTED, RESERVE): 30}


def test_two_groups_on_two_cards() -> None:
    """Each card goes to the pods of its own group."""
    one, two = reservation("g1", "GPU-1"), reservation("g2", "GPU-2")
    case = Told(
        gpus=(card("GPU-1"), card("GPU-2")),
        saw=(one[0], two[0]),
        lives=(one[1], two[1], user("p", "1/2", "g1"), user("q", "1/4", "g2", namespace="b")),
    )
    unnamed = {(UNATTRIBUTED, RESERVE): 30, (UNATTRIBUTED, f"{KAI}/reserve-g2"): 45}
    assert parts(case) == {("cc-a", "p"): 30, ("cc-b", "q"): 15} | unnamed


def test_a_user_of_several_groups_has_his_part_of_each_card() -> None:
    one, two = reservation("g1", "GPU-1"), reservation("g2", "GPU-2")
    case = Told(
        gpus=(card("GPU-1"), card("GPU-2")),
        saw=(one[0], two[0]),
        lives=(one[1], two[1], user("p", "1/2", "g1", "g2")),
    )
    lines, _ = case.rated()
    assert sorted((line.device, line.pod, line.list_micros) for line in lines if line.namespace) == [
        ("GPU-1", "p", 1_800_000),
        ("GPU-2", "p", 1_800_000),
    ]


def test_a_user_who_comes_leaves_the_others_lines_alone() -> None:
    """Law 9: what he takes was unattributed."""
    before, _ = told(user("p", "1/3")).rated()
    after, _ = told(user("p", "1/3"), user("q", "1/3", bound=17.123, ended=43.9)).rated()

    def of_p(lines: list[Any]) -> tuple[int, int]:
        mine = [line for line in lines if line.pod == "p"]
        return sum(line.list_micros for line in mine), sum(line.amount_micros for line in mine)

    assert of_p(after) == of_p(before)


def test_what_processes_did_is_no_users() -> None:
    """The reservation's holding cannot say whose they were. The card's energy goes by what each has of it."""
    case = told(user("p", "1/2"), user("q", "1/4"))
    case = replace(case, saw=tuple(replace(each, busy_ms=5, energy_mj=8, memory_byte_seconds=5) for each in case.saw))
    lines, _ = case.rated()
    assert {(line.busy_ms, line.memory_byte_seconds) for line in lines} == {(None, None)}
    energies = {line.pod: 0 for line in lines if line.energy_mj is not None}
    for line in lines:
        if line.energy_mj is not None:
            energies[line.pod] += line.energy_mj
    assert energies == {"p": 4, "q": 2, RESERVE: 2}


def test_the_same_under_active_sharing() -> None:
    """One slot of one: it is sold as a whole either way."""
    case = told(user("p", "1/2"), user("q", "1/4"))
    lines, _ = case.rated(policy=Policy(sharing="active"))
    assert [(line.pod, line.list_micros) for line in lines if line.namespace] == [("p", 1_800_000), ("q", 900_000)]


def test_users_go_on_while_nobody_looks() -> None:
    """The reservation's holding is filled like any other, and resolved like any other."""
    held, own = reservation()
    case = Told(
        gpus=(card(observed=((0, 20),)),),
        saw=(replace(held, end=ms(20)),),
        lives=(own, user("p", "1/2"), user("q", "1/2", ended=40, namespace="b")),
    )
    assert parts(case) == {("cc-a", "p"): 30, ("cc-b", "q"): 20, (UNATTRIBUTED, RESERVE): 10}
