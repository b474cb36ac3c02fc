"""What a simulated node does: its cards, pods with the slots they are to have, and what goes wrong when.

A scenario is read from YAML once, checked as a whole, and never changes. Every pod gets its slots here, before
any time passes: whatever the schedules do later, no two pods can hold one slot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources

import yaml

from exporter.scenario_events import Event, read_event
from exporter.scenario_fields import Fields, Problems
from exporter.simulated_cards import WHOLE_RESOURCE, Card, Device, Profile, mig_card, parse_profile, whole_card

CARDS_MAX = 64  # no node has more; keeps a slip of the keyboard from filling memory
SHARES_MAX = 128
PODS_MAX = CARDS_MAX * SHARES_MAX
EVENTS_MAX = 10_000
MEMORY_MAX_MIB = 16 * 1024 * 1024
EVERY_MIN_MS = 1_000  # no beat is shorter, so runs closer together could not be told apart
_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"


class ScenarioError(Exception):
    """The scenario cannot be simulated: one line a problem, each with its key, what was seen and what is wanted."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a pod runs: once a period, unless chance skips it. Periods count from the epoch, in UTC.

    jitter_ms       each run starts up to so much later
    chance_percent  of the hundred periods from a round number on, so many have a run
    """

    every_ms: int
    start_ms: int
    length_ms: int
    jitter_ms: int = 0
    chance_percent: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A device or one of its shares, by the id the kubelet has for it."""

    id: str
    device: Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod and the slots it has whenever it runs. name may hold {run}; without a schedule it always runs."""

    namespace: str
    name: str
    container: str
    resource: str
    busy_ratio: float
    memory_mib: int
    schedule: Schedule | None = None
    slots: tuple[Slot, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A whole simulated node. seed: what all its ids, and all its chance, derive from."""

    seed: str
    cards: tuple[Card, ...]
    pods: tuple[Pod, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workload:
    """An entry of `workloads`: the pods it asks for, still without slots."""

    fields: Fields
    pods: tuple[Pod, ...]
    gpus: int
    entry: int | None


def load_scenario(text: str, source_name: str, *, node: str = "") -> Scenario:
    """Read a scenario. Nodes of different names get different UUIDs from one file. Raises ScenarioError."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioError([f"{source_name}: not YAML: {error}"]) from error
    problems = Problems(source_name)
    top = Fields(document, "", problems)
    seed = f"{top.text('seed', 'simulated')}/{node}"
    cards: list[Card] = []
    entries = 0
    for entries, entry in enumerate(top.entries("gpus", CARDS_MAX), start=1):
        cards += _read_cards(entry, seed, first=len(cards), position=entries - 1)
    workloads = [_read_workload(entry, entries) for entry in top.entries("workloads", PODS_MAX, may_miss=True)]
    events = [read_event(entry, len(cards)) for entry in top.entries("events", EVENTS_MAX, may_miss=True)]
    top.done()
    if len(cards) > CARDS_MAX:
        top.wrong("gpus", f"at most {CARDS_MAX} cards in all")
    pods = [] if problems.lines else _place(workloads, cards)
    if problems.lines:
        raise ScenarioError(problems.lines)
    return Scenario(seed=seed, cards=tuple(cards), pods=tuple(pods), events=tuple(events))


def default_scenario(*, node: str = "") -> Scenario:
    """The scenario for those who bring none."""
    text = resources.files("exporter").joinpath("default_scenario.yaml").read_text("utf-8")
    return load_scenario(text, "default_scenario.yaml", node=node)


def _read_cards(entry: Fields, seed: str, *, first: int, position: int) -> list[Card]:
    """The cards of one entry of `gpus`, all alike; their indexes begin at `first`."""
    count = entry.whole("count", 1, CARDS_MAX, default=1)
    model = entry.text("model")
    memory_mib = entry.whole("memory_mib", 1, MEMORY_MAX_MIB)
    shares = entry.whole("shares", 1, SHARES_MAX, default=1)
    profiles: list[Profile] = []
    for path, name in entry.items("mig", CARDS_MAX, may_miss=True):
        if profile := parse_profile(name, memory_mib) if isinstance(name, str) else None:
            profiles.append(profile)
        else:
            entry.problems.note(path, name, "a MIG profile like 1g.10gb, 1c.3g.40gb or 1g.10gb+me")
    entry.done()
    cards = []
    for index in range(first, first + count):
        if not entry.has("mig"):
            cards.append(
                whole_card(seed=seed, index=index, entry=position, model=model, memory_mib=memory_mib, shares=shares)
            )
            continue
        try:
            cards.append(
                mig_card(
                    seed=seed,
                    index=index,
                    entry=position,
                    model=model,
                    memory_mib=memory_mib,
                    shares=shares,
                    profiles=profiles,
                )
            )
        except ValueError as error:
            entry.wrong("mig", str(error))
            break  # the others are alike
    return cards


def _read_workload(entry: Fields, gpu_entries: int) -> _Workload:
    namespace = entry.text("namespace", wanted="a namespace", like=_NAME)
    name = entry.text("pod")
    count = entry.whole("count", 1, PODS_MAX, default=1)
    names = [name.replace("{n}", str(n)) for n in range(count)]
    if not re.fullmatch(_NAME, names[0].replace("{run}", "0")):
        entry.wrong("pod", "a pod name, with {n} and {run} for its numbers")
    elif count > 1 and "{n}" not in name:
        entry.wrong("pod", f"{{n}} in it, to tell {count} pods apart")
    pod = Pod(
        namespace=namespace,
        name="",
        container=entry.text("container", "main", wanted="a container name", like=_NAME),
        resource=entry.text("resource", "", wanted="a resource like nvidia.com/gpu", like=r"[\w.-]+/[\w.-]+"),
        busy_ratio=entry.ratio("busy", 0.5),
        memory_mib=entry.whole("memory_mib", 0, MEMORY_MAX_MIB, default=1024),
        schedule=_read_schedule(entry.fields("schedule")) if entry.has("schedule") else None,
    )
    gpus = entry.whole("gpus", 1, PODS_MAX, default=1)
    on = entry.whole("on", 0, max(gpu_entries - 1, 0)) if entry.has("on") else None
    entry.done()
    return _Workload(fields=entry, pods=tuple(replace(pod, name=each) for each in names), gpus=gpus, entry=on)


def _read_schedule(entry: Fields) -> Schedule:
    """Runs may cross from one period into the next, but never overlap: with its jitter, each fits into `every`."""
    chance = entry.ratio("chance", 1.0)
    schedule = Schedule(
        every_ms=entry.duration_ms("every"),
        start_ms=entry.duration_ms("start", 0),
        length_ms=entry.duration_ms("length"),
        jitter_ms=entry.duration_ms("jitter", 0),
        chance_percent=round(chance * 100),
    )
    entry.done()
    if not entry.fine:
        return schedule
    if schedule.every_ms < EVERY_MIN_MS:
        entry.wrong("every", "at least 1s")
    if schedule.start_ms >= schedule.every_ms:
        entry.wrong("start", "less than `every`")
    if not 0 < schedule.length_ms <= schedule.every_ms - schedule.jitter_ms:
        entry.wrong("length", "more than nothing, and with `jitter` no more than `every`")
    return schedule


class _FreeSlots:
    """The slots that no pod has yet, and the memory that none has.

    Compute instances of one GPU instance share its memory, as the shares of a device do.
    """

    def __init__(self, cards: Sequence[Card]) -> None:
        self._slots = {slot: (card, device) for card in cards for device in card.devices for slot in device.slots}
        self._memory_mib = {
            (card.index, device.gpu_instance_id): device.memory_mib for card in cards for device in card.devices
        }

    def take(self, pod: Pod, gpus: int, entry: int | None) -> tuple[Slot, ...] | int:
        """The first slots that fit the pod, or how many there are where they are too few."""
        found: list[Slot] = []
        memory_mib = self._memory_mib.copy()
        used: set[str] = set()
        for slot, (card, device) in self._slots.items():
            if device.resource != pod.resource or entry not in (None, card.entry):
                continue
            if device.uuid not in used:  # a pod's process is on a device once, however many shares it has
                if memory_mib[card.index, device.gpu_instance_id] < pod.memory_mib:
                    continue
                memory_mib[card.index, device.gpu_instance_id] -= pod.memory_mib
                used.add(device.uuid)
            found.append(Slot(id=slot, device=device))
            if len(found) == gpus:
                self._memory_mib = memory_mib
                for each in found:
                    del self._slots[each.id]
                return tuple(found)
        return len(found)


def _place(workloads: Sequence[_Workload], cards: Sequence[Card]) -> list[Pod]:
    """Give every pod its slots, in the order of the file. A workload that does not fit is noted and left out."""
    free = _FreeSlots(cards)
    placed: dict[tuple[str, str], Pod] = {}
    for workload in workloads:
        resource = _resource(workload, cards)
        if resource is None:
            continue
        for pod in workload.pods:
            if (pod.namespace, pod.name) in placed:
                workload.fields.wrong("pod", f"another name: {pod.namespace}/{pod.name} is taken")
                break
            pod = replace(pod, resource=resource)
            slots = free.take(pod, workload.gpus, workload.entry)
            if isinstance(slots, int):
                need = f"{workload.gpus} × {resource} with {pod.memory_mib} MiB"
                workload.fields.wrong("gpus", f"what fits: {pod.namespace}/{pod.name} needs {need}, free are {slots}")
                break
            placed[pod.namespace, pod.name] = replace(pod, slots=slots)
    return list(placed.values())


def _resource(workload: _Workload, cards: Sequence[Card]) -> str | None:
    """The resource a workload asks for, else whole cards where there are any, else the only kind there is."""
    offered = {device.resource for card in cards if workload.entry in (None, card.entry) for device in card.devices}
    asked = workload.pods[0].resource or (WHOLE_RESOURCE if WHOLE_RESOURCE in offered else "")
    if asked in offered:
        return asked
    if not asked and len(offered) == 1:
        return offered.pop()
    workload.fields.wrong("resource", f"one of {', '.join(sorted(offered))}")
    return None
