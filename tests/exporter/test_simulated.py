"""The simulated node: a function of scenario and time, in which no two pods hold one slot."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clock import ReplayClock
from exporter.scenario import Scenario, ScenarioError, default_scenario, load_scenario
from exporter.simulated import SimulatedNode, SimulatedOutage
from exporter.simulated_cards import MEMORY_SLICES, parse_profile

SECOND_MS = 1_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
OCTOBER_MS = round(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)

BUSY = """
seed: lab
gpus:
  - {count: 2, model: NVIDIA H100 80GB HBM3, memory_mib: 81559}
  - {model: NVIDIA A100-SXM4-80GB, memory_mib: 81920, mig: [3g.40gb, 2g.20gb, 1g.10gb, 1g.10gb]}
  - {model: NVIDIA L40S, memory_mib: 46068, shares: 4}
workloads:
  - {namespace: prod, pod: chat, on: 0, busy: 0.7, memory_mib: 40000}
  - namespace: research
    pod: train-{run}
    on: 0
    busy: 1
    schedule: {every: 90s, start: 80s, length: 37s, jitter: 20s, chance: 0.45}
  - namespace: ci
    pod: test-{n}
    count: 2
    resource: nvidia.com/mig-1g.10gb
    schedule: {every: 24h, start: 8h, length: 6h, jitter: 30m, chance: 0.8}
  - {namespace: notes, pod: "book-{n}", count: 3, on: 2, busy: 0.9, memory_mib: 6000}
  - {namespace: notes, pod: deep, resource: nvidia.com/mig-3g.40gb, schedule: {every: 1h, length: 50m}}
events:
  - {at: 2026-10-03T14:20:00Z, until: 2026-10-03T14:40:00Z, gpu: 0, lost: true}
  - {at: 2026-10-03T15:00:00Z, until: 2026-10-03T15:01:00Z, kubelet: down}
"""
SCENARIO = load_scenario(BUSY, "busy.yaml")
QUIET = load_scenario(BUSY.partition("events:")[0], "quiet.yaml")

instants = st.integers(min_value=0, max_value=4 * 365 * DAY_MS).map(lambda offset_ms: OCTOBER_MS + offset_ms)


def node_at(now_ms: int, scenario: Scenario = QUIET) -> SimulatedNode:
    return SimulatedNode(scenario, clock=ReplayClock(now_ms))


def scheduled(schedule: str, *, seed: str = "lab") -> Scenario:
    """One pod on one card with this schedule."""
    return load_scenario(
        f"""
        seed: {seed}
        gpus: [{{model: NVIDIA H100 80GB HBM3, memory_mib: 81559}}]
        workloads: [{{namespace: a, pod: p, busy: 0.7, schedule: {{{schedule}}}}}]
        """,
        "scheduled.yaml",
    )


def pod_names(node: SimulatedNode) -> list[str]:
    return [allocation.pod for allocation in node.list_pods().allocations]


def energy_mj(node: SimulatedNode) -> list[int]:
    return [gpu.energy_mj for gpu in node.read().gpus if gpu.energy_mj is not None]


# Time


@given(st.lists(instants, min_size=1, max_size=5))
async def test_a_node_that_was_cut_off_sees_what_one_that_went_on_sees(path: list[int]) -> None:
    clock = ReplayClock(0)
    lasting = SimulatedNode(QUIET, clock=clock)
    for now_ms in path:
        await clock.sleep((now_ms - clock.now_ms()) / 1000)
        fresh = node_at(clock.now_ms())
        assert lasting.read() == fresh.read()
        assert lasting.list_pods() == fresh.list_pods()


@given(instants)
def test_no_slot_is_held_twice_and_every_held_one_is_offered(now_ms: int) -> None:
    answer = node_at(now_ms).list_pods()
    held = Counter(allocation.device_id for allocation in answer.allocations)
    assert set(held.values()) <= {1}
    assert {(a.resource, a.device_id) for a in answer.allocations} <= set(answer.offered)


def test_a_pod_keeps_its_slots_from_run_to_run() -> None:
    slots: dict[str, set[str]] = {}
    for minute in range(0, 3 * 24 * 60, 7):
        for allocation in node_at(OCTOBER_MS + minute * 60_000).list_pods().allocations:
            kind = "train" if allocation.pod.startswith("train-") else allocation.pod
            slots.setdefault(kind, set()).add(allocation.device_id)
    assert len(slots) == 8
    assert all(len(ids) == 1 for ids in slots.values())


@given(st.integers(min_value=0, max_value=40_000_000))
def test_a_37_second_pod_begins_and_ends_to_the_millisecond(run: int) -> None:
    scenario = scheduled("every: 1m, start: 5s, length: 37s")
    start_ms = run * 60 * SECOND_MS + 5 * SECOND_MS
    assert pod_names(node_at(start_ms, scenario)) == ["p"]
    assert pod_names(node_at(start_ms + 37 * SECOND_MS - 1, scenario)) == ["p"]
    assert pod_names(node_at(start_ms + 37 * SECOND_MS, scenario)) == []
    assert pod_names(node_at(start_ms + 60 * SECOND_MS - 1, scenario)) == []


def test_a_run_may_begin_before_midnight_and_end_after_it() -> None:
    scenario = scheduled("every: 24h, start: 22h, length: 6h")
    running = [hour for hour in range(24) if pod_names(node_at(OCTOBER_MS + hour * HOUR_MS, scenario))]
    assert running == [0, 1, 2, 3, 22, 23]


def test_jitter_moves_each_run_by_its_own_part_of_it() -> None:
    scenario = scheduled("every: 1h, length: 1m, jitter: 10m")
    starts = {
        next(second for second in range(3600) if pod_names(node_at(hour_ms + second * SECOND_MS, scenario)))
        for hour_ms in range(OCTOBER_MS, OCTOBER_MS + 12 * HOUR_MS, HOUR_MS)
    }
    assert len(starts) > 6
    assert max(starts) <= 600


def test_chance_is_kept_exactly_in_every_hundred_runs() -> None:
    scenario = scheduled("every: 1h, length: 1h, chance: 0.37")
    for hundred in (1, 5_000):
        hours = range(hundred * 100, hundred * 100 + 100)
        assert sum(len(pod_names(node_at(hour * HOUR_MS, scenario))) for hour in hours) == 37


def test_a_new_run_of_one_name_is_another_pod() -> None:
    scenario = scheduled("every: 1h, length: 1h")
    seen = []
    for now_ms in (OCTOBER_MS, OCTOBER_MS + HOUR_MS - 1, OCTOBER_MS + HOUR_MS):
        node = node_at(now_ms, scenario)
        (process,) = node.read().gpus[0].processes
        seen.append((process.pid, node.owner_of(process.pid)))
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]
    assert seen[0][1] != seen[2][1]


# Readings


@given(instants)
def test_every_process_has_a_running_owner_of_its_own(now_ms: int) -> None:
    node = node_at(now_ms)
    pids = [process.pid for gpu in node.read().gpus for process in gpu.processes]
    owners = [node.owner_of(pid) for pid in pids]
    assert len(set(pids)) == len(pids) == len(node.list_pods().allocations)
    assert len({owner.pod_uid for owner in owners if owner}) == len(pids)
    for owner in owners:
        assert owner is not None
        assert owner.runtime == "containerd"
        assert len(bytes.fromhex(owner.container_id or "")) == 32


def test_a_process_that_does_not_run_has_no_owner() -> None:
    node = node_at(OCTOBER_MS)
    live = {process.pid for gpu in node.read().gpus for process in gpu.processes}
    assert [pid for pid in range(1_200) if pid not in live and node.owner_of(pid)] == []


@given(instants)
def test_a_reading_is_physically_possible(now_ms: int) -> None:
    for gpu in node_at(now_ms).read().gpus:
        assert gpu.memory_used_bytes is not None
        assert gpu.memory_used_bytes <= gpu.memory_total_bytes
        assert sum(process.memory_used_bytes or 0 for process in gpu.processes) <= gpu.memory_used_bytes
        assert gpu.power_watts is not None
        assert 35 <= gpu.power_watts <= 700
        if gpu.mig_enabled:
            assert gpu.utilization_ratio is None
            assert [process.sm_ratio for process in gpu.processes if process.sm_ratio is not None] == []
            assert {process.device for process in gpu.processes} <= {each.uuid for each in gpu.instances}
        else:
            assert gpu.utilization_ratio == pytest.approx(sum(p.sm_ratio or 0 for p in gpu.processes))
            assert gpu.utilization_ratio <= 1


@pytest.mark.parametrize(("model", "busy"), [("NVIDIA H100 80GB HBM3", [0.5, 0, None]), ("A100", [None] * 3)])
def test_an_instances_sms_are_as_busy_as_its_pod_from_hopper_on(model: str, busy: list[float | None]) -> None:
    """By GPM: of whole GPU instances, and absent on an A100."""
    text = f"""
    gpus: [{{model: {model}, memory_mib: 81559, mig: [1g.10gb, 1g.10gb, 1c.3g.40gb]}}]
    workloads: [{{namespace: a, pod: p, resource: nvidia.com/mig-1g.10gb, busy: 0.5}}]
    """
    (gpu,) = node_at(OCTOBER_MS, load_scenario(text, "mig.yaml")).read().gpus
    assert [each.sm_ratio for each in gpu.instances] == [each and pytest.approx(each, abs=0.08) for each in busy]


@given(instants, st.integers(min_value=1, max_value=2 * DAY_MS))
def test_energy_rises_by_what_the_power_limits_allow(from_ms: int, elapsed_ms: int) -> None:
    before, after = energy_mj(node_at(from_ms)), energy_mj(node_at(from_ms + elapsed_ms))
    for first, then in zip(before, after, strict=True):
        assert 35 * elapsed_ms - 1 <= then - first <= 700 * elapsed_ms + 1


@given(instants)
async def test_energy_is_the_integral_of_power(from_ms: int) -> None:
    clock = ReplayClock(from_ms)
    node = SimulatedNode(QUIET, clock=clock)
    readings = [node.read()]
    for _ in range(50):
        await clock.sleep(0.1)
        readings.append(node.read())
    for card, (first, last) in enumerate(zip(readings[0].gpus, readings[-1].gpus, strict=True)):
        assert first.energy_mj is not None
        assert last.energy_mj is not None
        watts = [reading.gpus[card].power_watts or 0 for reading in readings]
        # In a step in which a run begins or ends, the sum cannot know when.
        jumps = sum(abs(after - before) for before, after in pairwise(watts))
        assert sum(watts[:-1]) * 100 == pytest.approx(last.energy_mj - first.energy_mj, abs=jumps * 100 + 2)


def test_a_lost_card_is_named_and_keeps_its_pods() -> None:
    """The card is away from 14:20 to 14:40 on the third of October."""
    start_ms = OCTOBER_MS + 2 * DAY_MS + 14 * HOUR_MS + 20 * 60_000
    whole = node_at(start_ms - 1, SCENARIO).read()
    for now_ms in (start_ms, start_ms + 20 * 60_000 - 1):
        node = node_at(now_ms, SCENARIO)
        reading = node.read()
        assert [lost.uuid for lost in reading.lost] == [whole.gpus[0].uuid]
        assert [gpu.index for gpu in reading.gpus] == [1, 2, 3]
        assert "chat" in pod_names(node)
    assert node_at(start_ms + 20 * 60_000, SCENARIO).read().lost == ()


def test_a_kubelet_that_is_down_does_not_answer_while_the_cards_do() -> None:
    start_ms = OCTOBER_MS + 2 * DAY_MS + 15 * HOUR_MS
    with pytest.raises(SimulatedOutage, match="kubelet"):
        node_at(start_ms, SCENARIO).list_pods()
    assert len(node_at(start_ms, SCENARIO).read().gpus) == 4
    assert pod_names(node_at(start_ms + 60_000, SCENARIO))


# Cards


def test_the_kubelet_offers_cards_instances_and_shares() -> None:
    node = node_at(OCTOBER_MS)
    first, second, cut, shared = node.read().gpus
    assert node.list_pods().offered == (
        ("nvidia.com/gpu", first.uuid),
        ("nvidia.com/gpu", second.uuid),
        *((f"nvidia.com/mig-{each.profile}", each.uuid) for each in cut.instances),
        *(("nvidia.com/gpu", f"{shared.uuid}::{n}") for n in range(4)),
    )
    assert [card.mig_slices_max for card in (first, cut, shared)] == [7, 7, None]


# Memory of the card in MiB, profile, and its c, g, m: NVIDIA, "MIG User Guide", tables of supported profiles.
PUBLISHED = (
    (40960, "1g.5gb", (1, 1, 1)),
    (40960, "1g.5gb+me", (1, 1, 1)),
    (40960, "1g.10gb", (1, 1, 2)),
    (40960, "2g.10gb", (2, 2, 2)),
    (40960, "3g.20gb", (3, 3, 4)),
    (40960, "4g.20gb", (4, 4, 4)),
    (40960, "7g.40gb", (7, 7, 8)),
    (81920, "1g.10gb", (1, 1, 1)),
    (81920, "1g.20gb", (1, 1, 2)),
    (81559, "1g.10gb", (1, 1, 1)),
    (81559, "1g.20gb", (1, 1, 2)),
    (81559, "2g.20gb", (2, 2, 2)),
    (81559, "3g.40gb", (3, 3, 4)),
    (81559, "1c.3g.40gb", (1, 3, 4)),
    (81559, "4g.40gb", (4, 4, 4)),
    (81559, "7g.80gb", (7, 7, 8)),
    (95830, "1g.12gb", (1, 1, 1)),
    (95830, "1g.24gb", (1, 1, 2)),
    (95830, "3g.47gb", (3, 3, 4)),
    (95830, "7g.94gb", (7, 7, 8)),
    (143771, "1g.18gb", (1, 1, 1)),
    (143771, "1g.35gb", (1, 1, 2)),
    (143771, "2g.35gb", (2, 2, 2)),
    (143771, "3g.71gb", (3, 3, 4)),
    (143771, "7g.141gb", (7, 7, 8)),
    (183359, "1g.23gb", (1, 1, 1)),
    (183359, "1g.45gb", (1, 1, 2)),
    (183359, "3g.90gb", (3, 3, 4)),
    (183359, "7g.180gb", (7, 7, 8)),
    (24576, "1g.6gb", (1, 1, 2)),
    (24576, "2g.12gb", (2, 2, 4)),
    (24576, "4g.24gb", (4, 4, 8)),
    (97887, "1g.24gb+me.all", (1, 1, 2)),
    (97887, "1g.24gb-me", (1, 1, 2)),
    (97887, "2g.48gb+gfx", (2, 2, 4)),
    (97887, "4g.96gb", (4, 4, 8)),
)


@pytest.mark.parametrize(("card_memory_mib", "name", "slices"), PUBLISHED)
def test_a_profile_has_the_slices_that_nvidia_publishes(
    card_memory_mib: int, name: str, slices: tuple[int, int, int]
) -> None:
    """m in eighths; a card of four memory slices (A30, RTX PRO 6000) has two eighths in each."""
    profile = parse_profile(name, card_memory_mib)
    assert profile is not None
    assert (profile.compute_slices, profile.gpu_instance_slices, profile.memory_slices) == slices
    instance_mib = card_memory_mib * profile.memory_slices // MEMORY_SLICES
    assert -(-MEMORY_SLICES * instance_mib // card_memory_mib) == slices[2]  # ⌈8 × MiB ÷ total⌉ finds it again


@pytest.mark.parametrize("name", ["", "1g", "g.10gb", "4c.3g.40gb", "0g.10gb", "1g.10GB", "MIG 1g.10gb"])
def test_what_is_no_profile_is_refused(name: str) -> None:
    assert parse_profile(name, 81559) is None


def test_compute_instances_fill_a_gpu_instance_before_the_next() -> None:
    text = "gpus: [{model: A100, memory_mib: 40960, mig: [2c.3g.20gb, 1c.3g.20gb, 1c.3g.20gb]}]"
    (card,) = node_at(0, load_scenario(text, "cut.yaml")).read().gpus
    ids = [(each.gpu_instance_id, each.compute_instance_id) for each in card.instances]
    assert ids == [(1, 0), (1, 1), (2, 0)]
    assert len({each.uuid for each in card.instances}) == 3


def test_an_attribute_becomes_part_of_the_resource_as_the_device_plugin_writes_it() -> None:
    text = "gpus: [{model: A100, memory_mib: 40960, mig: [1g.5gb+me]}]"
    ((resource, _),) = node_at(0, load_scenario(text, "me.yaml")).list_pods().offered
    assert resource == "nvidia.com/mig-1g.5gb.me"


# The file


def test_the_default_scenario_shows_each_way_to_use_a_card() -> None:
    node = node_at(OCTOBER_MS, default_scenario())
    assert [(gpu.model[:11], gpu.mig_enabled) for gpu in node.read().gpus] == [
        ("NVIDIA H100", False),
        ("NVIDIA H100", False),
        ("NVIDIA A100", True),
        ("NVIDIA L40S", False),
    ]
    assert {"chat", "embed", "notebook-0"} <= set(pod_names(node))


def test_ids_derive_from_seed_and_node() -> None:
    def uuids(scenario: Scenario) -> set[str]:
        return {device.uuid for card in scenario.cards for device in card.devices}

    assert uuids(default_scenario(node="a")) == uuids(default_scenario(node="a"))
    assert uuids(default_scenario(node="a")).isdisjoint(uuids(default_scenario(node="b")))
    assert scheduled("every: 1h, length: 1m").cards != scheduled("every: 1h, length: 1m", seed="other").cards


def test_a_workload_without_a_resource_takes_the_only_one_there_is() -> None:
    text = """
    gpus: [{model: A100, memory_mib: 40960, mig: [3g.20gb, 3g.20gb]}]
    workloads: [{namespace: a, pod: p, gpus: 2}]
    """
    scenario = load_scenario(text, "mig.yaml")
    assert [slot.id for slot in scenario.pods[0].slots] == [each.uuid for each in scenario.cards[0].devices]


def test_a_pod_with_two_shares_of_a_card_has_one_process_on_it() -> None:
    text = """
    gpus: [{model: L4, memory_mib: 24000, shares: 4}]
    workloads: [{namespace: a, pod: p, gpus: 2, memory_mib: 20000}]
    """
    node = node_at(0, load_scenario(text, "two.yaml"))
    assert len(node.list_pods().allocations) == 2
    assert len(node.read().gpus[0].processes) == 1


GPUS = "gpus: [{model: A100, memory_mib: 40960}]\n"
POD = "namespace: a, pod: p"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("gpus: [", "not YAML"),
        ("[]", "the file"),
        ("seed: lab", "gpus: missing"),
        ("gpus: []", "gpus: []"),
        ("gpus: [7]", "gpus[0]: 7"),
        ("{seed: [], gpus: [{model: A100, memory_mib: 1}]}", "seed: []"),
        ("gpus: [{memory_mib: 40960}]", "gpus[0].model: missing"),
        ("gpus: [{model: A100}]", "gpus[0].memory_mib: missing"),
        ("gpus: [{model: A100, memory_mib: true}]", "gpus[0].memory_mib: True"),
        ("gpus: [{model: A100, memory_mib: 1, count: 0}]", "gpus[0].count: 0"),
        ("gpus: [{model: A100, memory_mib: 1, shares: 129}]", "gpus[0].shares: 129"),
        ("gpus: [{model: A100, memory_mib: 1, size: 3}]", "gpus[0].size: 3: want only the keys"),
        ("gpus: [{model: A100, memory_mib: 40960, mig: [half]}]", "gpus[0].mig[0]: 'half'"),
        ("gpus: [{model: A100, memory_mib: 40960, mig: [7g.40gb, 1g.5gb]}]", "gpus[0].mig: "),
        ("gpus: [{model: A100, memory_mib: 40960, mig: [3g.20gb, 3g.20gb, 1g.5gb]}]", "these are 7 and 9"),
        ("gpus: [{model: L40S, memory_mib: 40960, mig: [1g.5gb]}]", "L40S has none"),
        ("gpus: [{model: L4, memory_mib: 1, count: 40}, {model: L4, memory_mib: 1, count: 40}]", "64 cards in all"),
        (f"{GPUS}nodes: 3", "nodes: 3"),
        (f"{GPUS}workloads: [{{pod: p}}]", "workloads[0].namespace: missing"),
        (f"{GPUS}workloads: [{{namespace: A b, pod: p}}]", "workloads[0].namespace: 'A b'"),
        (f"{GPUS}workloads: [{{namespace: a, pod: 'p-{{m}}'}}]", "workloads[0].pod: 'p-{m}'"),
        (f"{GPUS}workloads: [{{{POD}, count: 2}}]", "workloads[0].pod: 'p'"),
        (f"{GPUS}workloads: [{{{POD}}}, {{{POD}}}]", "workloads[1].pod: 'p': want another name: a/p is taken"),
        (f"{GPUS}workloads: [{{{POD}, container: _}}]", "workloads[0].container: '_'"),
        (f"{GPUS}workloads: [{{{POD}, resource: gpu}}]", "workloads[0].resource: 'gpu'"),
        (f"{GPUS}workloads: [{{{POD}, resource: amd.com/gpu}}]", "want one of nvidia.com/gpu"),
        (f"{GPUS}workloads: [{{{POD}, gpus: 2}}]", "a/p needs 2 × nvidia.com/gpu with 1024 MiB, free are 1"),
        (f"{GPUS}workloads: [{{{POD}, memory_mib: 40961}}]", "with 40961 MiB, free are 0"),
        (f"{GPUS}workloads: [{{{POD}, on: 1}}]", "workloads[0].on: 1"),
        (f"{GPUS}workloads: [{{{POD}, busy: 70}}]", "workloads[0].busy: 70"),
        (f"{GPUS}workloads: [{{{POD}, schedule: daily}}]", "workloads[0].schedule: 'daily'"),
        (f"{GPUS}workloads: [{{{POD}, schedule: {{length: 1h}}}}]", "workloads[0].schedule.every: missing"),
        (f"{GPUS}workloads: [{{{POD}, schedule: {{every: 10ms, length: 1ms}}}}]", "workloads[0].schedule.every"),
        (f"{GPUS}workloads: [{{{POD}, schedule: {{every: 1h, length: 60}}}}]", "workloads[0].schedule.length: 60"),
        (
            f"{GPUS}workloads: [{{{POD}, schedule: {{every: 1h, length: 1h, jitter: 1s}}}}]",
            "workloads[0].schedule.length: '1h'",
        ),
        (
            f"{GPUS}workloads: [{{{POD}, schedule: {{every: 1h, length: 1m, start: 1h}}}}]",
            "workloads[0].schedule.start: '1h'",
        ),
        (f"{GPUS}events: [{{until: 2026-10-03T15:00:00Z, kubelet: down}}]", "events[0].at: missing"),
        (
            f"{GPUS}events: [{{at: 2026-10-03T14:00:00, until: 2026-10-03T15:00:00Z, kubelet: down}}]",
            "events[0].at: datetime",
        ),
        (
            f"{GPUS}events: [{{at: 2026-10-03T15:00:00Z, until: '2026-10-03T15:00:00Z', kubelet: down}}]",
            "events[0].until: ",
        ),
        (
            f"{GPUS}events: [{{at: 2026-10-03T14:00:00Z, until: soon, gpu: 1, lost: no}}]",
            "events[0].gpu: 1",
        ),
        (f"{GPUS}events: [{{at: 2026-10-03T14:00:00Z, until: soon, kubelet: up}}]", "events[0].kubelet: 'up'"),
        (f"{GPUS}events: [{{at: 2026-10-03T14:00:00Z, until: soon, gpu: 0, lost: no}}]", "events[0].lost: False"),
    ],
)
def test_a_problem_names_its_key_and_what_was_seen(text: str, key: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(text, "lab.yaml")
    assert key in str(caught.value)
    assert all(problem.startswith("lab.yaml: ") for problem in caught.value.problems)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario("{gpus: [{model: A100}], workloads: [{pod: p, busy: 2}], events: [{}]}", "lab.yaml")
    keys = [problem.split(": ")[1] for problem in caught.value.problems]
    assert keys == [
        "gpus[0].memory_mib",
        "workloads[0].namespace",
        "workloads[0].busy",
        "events[0].at",
        "events[0].until",
        "events[0].gpu",
        "events[0].lost",
    ]


def test_a_default_that_could_mean_several_resources_asks_for_one() -> None:
    text = """
    gpus: [{model: A100, memory_mib: 40960, mig: [3g.20gb, 1g.5gb]}]
    workloads: [{namespace: a, pod: p}]
    """
    with pytest.raises(
        ScenarioError, match=r"resource: missing: want one of nvidia.com/mig-1g.5gb, nvidia.com/mig-3g"
    ):
        load_scenario(text, "lab.yaml")
