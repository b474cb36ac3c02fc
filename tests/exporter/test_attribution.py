"""Who holds what, and whose use it is: from readings to a sight."""

from __future__ import annotations

import pytest

from exporter.attribution import attribute
from exporter.reading import CgroupOwner, LostGpu, NodeReading
from exporter.sight import Memory, SeenHolding, SeenUse, Sight
from tests.exporter.builders import (
    GIB,
    POD_A,
    POD_B,
    claimed,
    given,
    gpu,
    in_pod,
    kubelet,
    look,
    mig_device,
    mig_gpu,
    node,
    process,
)


def only(sight: Sight) -> SeenHolding:
    (found,) = sight.holdings
    return found


def pods(sight: Sight) -> list[str]:
    return [each.holder.pod for each in sight.holdings]


# Devices


def test_a_whole_card_is_held_exclusively_as_share_0():
    sight, _ = look(gpu(), kubelet=kubelet(given("train-0")))
    held = only(sight)
    assert (held.device, held.shares, held.evidence, held.holder.pod) == ("GPU-a", (0,), "exclusive", "train-0")


def test_a_mig_device_is_held_with_evidence_mig():
    sight, _ = look(mig_gpu(mig_device("MIG-a", slices=3)), kubelet=kubelet(given("p", "MIG-a")))
    assert only(sight).evidence == "mig"
    (card,) = sight.cards
    (instance,) = card.instances
    assert (card.slices_max, card.memory_slices, instance.c, instance.g, instance.m) == (7, 8, 3, 3, 3)


def test_memory_slices_are_only_said_of_cards_with_mig():
    sight, _ = look(gpu(mig_slices_max=None), kubelet=kubelet())
    assert sight.cards[0].memory_slices is None


def test_shares_are_counted_by_the_ids_the_kubelet_offers():
    offered = [f"GPU-a::{n}" for n in range(4)]
    sight, _ = look(gpu(), kubelet=kubelet(given("p", "GPU-a::2"), offered=offered))
    assert sight.cards[0].shares == 4
    assert (only(sight).shares, only(sight).evidence) == ((2,), "equal")


def test_shares_are_kept_when_the_answer_shrinks_and_never_guessed_from_holdings():
    offered = [f"MIG-a::{n}" for n in range(4)]
    card = mig_gpu(mig_device("MIG-a"))
    _, memory = look(card, kubelet=kubelet(offered=offered))
    for fewer in (offered[:3], []):
        sight, memory = look(card, kubelet=kubelet(offered=fewer), memory=memory)
        assert sight.cards[0].instances[0].shares == 4
    fresh, _ = look(card, kubelet=kubelet(given("p", "MIG-a::7")))
    assert fresh.cards[0].instances[0].shares == 1


def test_fewer_shares_from_the_first_on_are_another_configuration():
    """Of ten the plugin is told to offer four. What is ill is one share, or all, or in the middle of the numbers."""
    offered = [f"GPU-a::{n}" for n in range(10)]
    _, ten = look(gpu(), kubelet=kubelet(offered=offered))
    sight, four = look(gpu(), kubelet=kubelet(given("p", "GPU-a::3"), offered=offered[:4]), memory=ten)
    assert (sight.cards[0].shares, only(sight).shares) == (4, (3,))
    sight, _ = look(gpu(), kubelet=kubelet(), memory=four)
    assert sight.cards[0].shares == 4
    for ill in (offered[:9], offered[:1], offered[3:], offered[:2] + offered[5:]):
        sight, _ = look(gpu(), kubelet=kubelet(offered=ill), memory=ten)
        assert sight.cards[0].shares == 10


def test_a_device_offered_whole_again_has_no_shares_any_more():
    _, memory = look(gpu(), kubelet=kubelet(offered=["GPU-a::0", "GPU-a::1"]))
    sight, _ = look(gpu(), kubelet=kubelet(offered=["GPU-a"]), memory=memory)
    assert sight.cards[0].shares == 1


def test_a_share_stays_one_of_as_many_while_it_is_held_though_its_device_is_offered_whole():
    """A plugin that is told to share no more ends no pod: a quarter is a quarter, and the next pod has the rest."""
    _, memory = look(gpu(), kubelet=kubelet(given("old", "GPU-a::0"), offered=[f"GPU-a::{n}" for n in range(4)]))
    sight, memory = look(gpu(), kubelet=kubelet(given("old", "GPU-a::0"), offered=["GPU-a"]), memory=memory)
    assert (sight.cards[0].shares, only(sight).shares) == (4, (0,))
    answer = kubelet(given("old", "GPU-a::0"), given("new", "GPU-a"), offered=["GPU-a"])
    sight, memory = look(gpu(), kubelet=answer, memory=memory)
    assert [(each.holder.pod, each.shares) for each in sight.holdings] == [("old", (0,)), ("new", (1, 2, 3))]
    sight, _ = look(gpu(), kubelet=kubelet(given("new", "GPU-a"), offered=["GPU-a"]), memory=memory)
    assert (sight.cards[0].shares, only(sight).holder.pod, only(sight).shares) == (1, "new", (0,))


def test_a_card_that_dra_hands_out_instead_of_a_plugin_has_no_shares_any_more():
    """No DRA driver is in the kubelet's offer; beside one that is, a claim may only watch."""
    offered = [f"GPU-a::{n}" for n in range(4)]
    _, memory = look(gpu(), kubelet=kubelet(offered=offered))
    sight, _ = look(gpu(), kubelet=kubelet(claimed("p", "team/one")), memory=memory)
    assert (sight.cards[0].shares, only(sight).shares, only(sight).evidence) == (1, (0,), "exclusive")
    for offer, held in ((offered, ()), ((), (given("q", "GPU-a::1"),))):
        sight, _ = look(gpu(), kubelet=kubelet(claimed("dcgm", "ops/all"), *held, offered=offer), memory=memory)
        assert sight.cards[0].shares == 4


def test_shares_of_one_holder_are_one_record():
    offered = [f"GPU-a::{n}" for n in range(4)]
    answer = kubelet(given("p", "GPU-a::3"), given("p", "GPU-a::1"), given("q", "GPU-a::0"), offered=offered)
    sight, _ = look(gpu(), kubelet=answer)
    assert [(each.holder.pod, each.shares) for each in sight.holdings] == [("q", (0,)), ("p", (1, 3))]


def test_who_was_given_a_device_whole_has_all_its_shares_but_those_given_to_others():
    """A plugin that is told to share a card ends no pod: who has it keeps it, and new ones get shares of it."""
    _, memory = look(gpu(), kubelet=kubelet(given("old", "GPU-a"), offered=["GPU-a"]))
    offered = [f"GPU-a::{n}" for n in range(4)]
    sight, memory = look(gpu(), kubelet=kubelet(given("old", "GPU-a"), offered=offered), memory=memory)
    assert (only(sight).holder.pod, only(sight).shares) == ("old", (0, 1, 2, 3))
    answer = kubelet(given("old", "GPU-a"), given("new", "GPU-a::0"), offered=offered)
    for known in (memory, Memory()):
        sight, later = look(gpu(), kubelet=answer, memory=known)
        assert [(each.holder.pod, each.shares) for each in sight.holdings] == [("new", (0,)), ("old", (1, 2, 3))]
        sight, _ = look(gpu(), kubelet=kubelet(given("old", "GPU-a"), offered=offered), memory=later)
        assert only(sight).shares == (0, 1, 2, 3)


def test_unknown_device_ids_are_counted():
    answer = kubelet(given("p", "GPU-elsewhere"), given("q", "vfio0"), given("r", "GPU-a::5000"))
    sight, _ = look(gpu(), kubelet=answer)
    assert (sight.holdings, sight.unknown_devices) == ((), 3)


# Silent cards


@pytest.mark.parametrize(
    "reading",
    [
        pytest.param(None, id="NVML fails"),
        pytest.param(NodeReading(), id="the card has vanished"),
        pytest.param(NodeReading(lost=(LostGpu(index=0, uuid="GPU-m", error="lost"),)), id="the card is lost"),
        pytest.param(NodeReading(lost=(LostGpu(index=0, uuid=None, error="lost"),)), id="and nobody knows which"),
    ],
)
def test_a_silent_card_keeps_its_layout_and_holders_unhealthy(reading: NodeReading | None):
    answer = kubelet(given("p", "MIG-a"))
    _, memory = look(mig_gpu(mig_device("MIG-a")), kubelet=answer)
    sight, _ = attribute(reading, answer, {}, memory)
    assert sight.observed
    assert not sight.cards[0].healthy
    assert [each.uuid for each in sight.cards[0].instances] == ["MIG-a"]
    assert (only(sight).holder.pod, only(sight).busy_ppm, only(sight).memory_bytes) == ("p", None, None)
    assert only(sight).evidence == "kubelet"


def test_without_the_kubelet_nothing_is_observed_but_cards_are_still_listed():
    sight, _ = look(gpu(), kubelet=None)
    assert (sight.observed, sight.holdings, len(sight.cards)) == (False, (), 1)


def test_a_card_that_was_never_shown_does_not_exist():
    lost = NodeReading(lost=(LostGpu(index=0, uuid="GPU-a", error="lost"),))
    sight, _ = attribute(lost, kubelet(given("p")), {}, Memory())
    assert (sight.cards, sight.unknown_devices) == ((), 1)


def test_a_restart_forgets_cards_and_remembers_holders():
    _, memory = look(gpu(), kubelet=kubelet(given("old"), offered=["GPU-a::0", "GPU-a::1"]))
    after = memory.after_restart()
    assert after.cards == {}
    assert (after.shares, after.claimants) == (memory.shares, memory.claimants)


# Succession


def test_a_new_holder_ends_the_old_one_though_the_kubelet_still_lists_him():
    _, memory = look(gpu(), kubelet=kubelet(given("old")))
    for answer in (kubelet(given("old"), given("new")), kubelet(given("new"), given("old"))):
        sight, memory = look(gpu(), kubelet=answer, memory=memory)
        assert pods(sight) == ["new"]
    sight, memory = look(gpu(), kubelet=kubelet(given("old")), memory=memory)
    assert pods(sight) == []
    assert memory.superseded == {"GPU-a::0": memory.superseded["GPU-a::0"]}


def test_who_is_no_longer_listed_may_hold_again_later():
    _, memory = look(gpu(), kubelet=kubelet(given("old")))
    _, memory = look(gpu(), kubelet=kubelet(given("old"), given("new")), memory=memory)
    _, memory = look(gpu(), kubelet=kubelet(given("new")), memory=memory)
    assert memory.superseded == {}


def test_two_at_once_without_history_are_nobody_until_one_is_left():
    both = kubelet(given("a"), given("b"))
    sight, memory = look(gpu(), kubelet=both)
    held = only(sight)
    assert (held.holder.namespace, held.holder.pod, held.holder.container) == ("", "", "")
    assert (held.evidence, held.holder.resource) == ("none", "nvidia.com/gpu")
    sight, memory = look(gpu(), kubelet=both, memory=memory)
    assert pods(sight) == [""]
    sight, _ = look(gpu(), kubelet=kubelet(given("b")), memory=memory)
    assert pods(sight) == ["b"]


def test_a_third_ends_two_of_whom_nobody_knew():
    _, memory = look(gpu(), kubelet=kubelet(given("a"), given("b")))
    sight, _ = look(gpu(), kubelet=kubelet(given("a"), given("b"), given("c")), memory=memory)
    assert pods(sight) == ["c"]


def test_two_new_ones_at_once_are_nobody():
    _, memory = look(gpu(), kubelet=kubelet(given("old")))
    sight, _ = look(gpu(), kubelet=kubelet(given("old"), given("a"), given("b")), memory=memory)
    assert pods(sight) == [""]


def test_consumers_of_one_claim_all_hold():
    _, memory = look(gpu(), kubelet=kubelet(claimed("a", "team/shared")))
    both = kubelet(claimed("a", "team/shared"), claimed("b", "team/shared"))
    sight, _ = look(gpu(), kubelet=both, memory=memory)
    assert [(each.holder.pod, each.evidence, each.holder.claim) for each in sight.holdings] == [
        ("a", "equal", "team/shared"),
        ("b", "equal", "team/shared"),
    ]


def test_another_claim_of_a_taken_device_ends_nobody_for_one_of_both_only_watches():
    """With adminAccess a monitor sees a device that another claim has; only the API says which of the two it is."""
    _, memory = look(gpu(), kubelet=kubelet(claimed("train", "team/one")))
    answer = kubelet(claimed("train", "team/one"), claimed("dcgm", "monitoring/all"))
    for _ in range(2):
        sight, memory = look(gpu(), kubelet=answer, memory=memory)
        assert [(each.holder.pod, each.holder.claim, each.evidence) for each in sight.holdings] == [
            ("dcgm", "monitoring/all", "equal"),
            ("train", "team/one", "equal"),
        ]
    sight, _ = look(gpu(), kubelet=kubelet(claimed("dcgm", "monitoring/all")), memory=memory)
    assert pods(sight) == ["dcgm"]


def test_a_pod_of_the_device_plugin_ends_a_claim_and_a_claim_it():
    """A device given away by both was given away twice: the later holds."""
    _, memory = look(gpu(), kubelet=kubelet(claimed("old", "team/one")))
    sight, memory = look(gpu(), kubelet=kubelet(claimed("old", "team/one"), given("new")), memory=memory)
    assert pods(sight) == ["new"]


def test_silence_of_the_kubelet_forgets_no_history():
    _, memory = look(gpu(), kubelet=kubelet(given("old")))
    _, memory = look(gpu(), kubelet=None, memory=memory)
    sight, _ = look(gpu(), kubelet=kubelet(given("old"), given("new")), memory=memory)
    assert pods(sight) == ["new"]


# Usage


def test_usage_of_the_only_holder_is_the_sum_of_his_processes():
    card = gpu(processes=(process(1, sm_ratio=0.25), process(2, sm_ratio=0.5)))
    sight, _ = look(card, kubelet=kubelet(given("p")), owners={1: in_pod(POD_A), 2: in_pod(POD_A)})
    held = only(sight)
    assert (held.pod_uid, held.busy_ppm, held.memory_bytes) == (POD_A, 750_000, 2 * GIB)


def test_a_device_is_never_more_than_busy():
    card = gpu(processes=(process(1, sm_ratio=0.8), process(2, sm_ratio=0.8)))
    sight, _ = look(card, kubelet=kubelet(given("p")))
    assert only(sight).busy_ppm == 1_000_000


def test_one_process_that_cannot_say_makes_the_sum_unknown():
    card = gpu(processes=(process(1), process(2, sm_ratio=None, memory_used_bytes=None)))
    held = only(look(card, kubelet=kubelet(given("p")))[0])
    assert (held.busy_ppm, held.memory_bytes) == (None, None)


def test_no_process_is_no_use():
    held = only(look(gpu(), kubelet=kubelet(given("p")))[0])
    assert (held.busy_ppm, held.memory_bytes, held.pod_uid) == (0, 0, None)


def test_no_process_says_nothing_where_the_driver_may_not_list_them():
    card = gpu(denied=frozenset({"nvmlDeviceGetComputeRunningProcesses_v3"}))
    held = only(look(card, kubelet=kubelet(given("p")))[0])
    assert (held.busy_ppm, held.memory_bytes) == (None, None)


def test_under_mig_busy_time_is_unknown_also_that_of_no_process():
    held = only(look(mig_gpu(mig_device()), kubelet=kubelet(given("p", "MIG-a")))[0])
    assert (held.busy_ppm, held.memory_bytes) == (None, 0)


def test_on_a_device_of_two_pods_nobodys_usage_is_known():
    offered = ["GPU-a::0", "GPU-a::1"]
    answer = kubelet(given("p", "GPU-a::0"), given("q", "GPU-a::1"), offered=offered)
    sight, _ = look(gpu(processes=(process(1),)), kubelet=answer, owners={1: in_pod(POD_A)})
    assert {(each.pod_uid, each.busy_ppm) for each in sight.holdings} == {(None, None)}
    assert sight.uses == ()


def test_two_containers_of_one_pod_share_its_uid_but_not_its_usage():
    answer = kubelet(
        given("p", "GPU-a::0"), given("p", "GPU-a::1", container="side"), offered=["GPU-a::0", "GPU-a::1"]
    )
    sight, _ = look(gpu(processes=(process(1),)), kubelet=answer, owners={1: in_pod(POD_A)})
    assert [(each.pod_uid, each.busy_ppm) for each in sight.holdings] == [(POD_A, None)] * 2


def test_when_nobody_could_look_for_owners_no_usage_is_known():
    sight, _ = attribute(node(gpu(processes=(process(1),))), kubelet(given("p")), None, Memory())
    assert (only(sight).busy_ppm, sight.uses) == (None, ())


def test_two_uids_without_history_leave_the_holders_unknown():
    card = gpu(processes=(process(1), process(2)))
    sight, _ = look(card, kubelet=kubelet(given("p")), owners={1: in_pod(POD_A), 2: in_pod(POD_B)})
    assert (only(sight).pod_uid, only(sight).busy_ppm, sight.uses) == (None, None, ())


def test_a_stranger_beside_the_holder_is_use_without_allocation():
    answer = kubelet(given("p"))
    _, memory = look(gpu(processes=(process(1),)), kubelet=answer, owners={1: in_pod(POD_A)})
    card = gpu(processes=(process(1), process(2)))
    sight, _ = look(card, kubelet=answer, owners={1: in_pod(POD_A), 2: in_pod(POD_B)}, memory=memory)
    assert (only(sight).pod_uid, only(sight).busy_ppm) == (POD_A, None)
    assert [use.container for use in sight.uses] == [POD_B * 2]


def test_another_holders_process_is_not_mistaken_for_an_idle_holders():
    cards = gpu("GPU-a", processes=(process(1),)), gpu("GPU-b", index=1)
    answer = kubelet(given("p"), given("q", "GPU-b"))
    _, memory = look(*cards, kubelet=answer, owners={1: in_pod(POD_A)})
    cards = cards[0], gpu("GPU-b", index=1, processes=(process(2, "GPU-b"),))
    sight, _ = look(*cards, kubelet=answer, owners={1: in_pod(POD_A), 2: in_pod(POD_A)}, memory=memory)
    idle = sight.holdings[1]
    assert (idle.holder.pod, idle.pod_uid, idle.busy_ppm) == ("q", None, None)
    assert [use.device for use in sight.uses] == ["GPU-b"]


def test_use_of_a_free_device_is_reported_by_container():
    card = gpu(processes=(process(1), process(2), process(3), process(4)))
    owners = {1: in_pod(POD_A), 2: CgroupOwner(), 3: None, 4: CgroupOwner(pod_uid=POD_B)}
    sight, _ = look(card, kubelet=kubelet(), owners=owners)
    common = {"device": "GPU-a", "busy_ppm": None, "memory_bytes": GIB}
    assert sight.uses == (
        SeenUse(**common),
        SeenUse(container=POD_A * 2, runtime="containerd", **common),
        SeenUse(container="host", **common),
        SeenUse(container=f"pod{POD_B}", **common),
    )


def test_a_host_process_alone_leaves_the_holders_usage_unknown():
    sight, _ = look(gpu(processes=(process(1),)), kubelet=kubelet(given("p")), owners={1: CgroupOwner()})
    assert (only(sight).busy_ppm, sight.uses[0].container) == (None, "host")


def test_a_uid_is_forgotten_when_its_pod_holds_nothing():
    card = gpu(processes=(process(1),))
    _, memory = look(card, kubelet=kubelet(given("p")), owners={1: in_pod(POD_A)})
    assert memory.pod_uids == {"team/p": POD_A}
    _, memory = look(gpu(), kubelet=kubelet(), memory=memory)
    assert memory.pod_uids == {}
