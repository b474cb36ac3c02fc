"""Who holds what, and what it does: from what the doors saw at one instant to one sight. Pure, no I/O, no clock.

The kubelet alone says who holds a slot; processes only say how it is used. What is not certain is left out
(`None`) or nobody's (empty names), never guessed: a guess would stand on somebody's bill.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import msgspec

from exporter.device_ids import parse_device_id
from exporter.device_names import DeviceNames
from exporter.mig import MEMORY_SLICES, memory_slices
from exporter.reading import Allocation, CgroupOwner, GpuReading, KubeletReading, NodeReading
from exporter.sight import Card, Claimant, Instance, Memory, SeenHolding, Sight, UnknownHolding
from exporter.usage import UsageByDevice, of_holders_of_now, pod_key, usage_of_devices

MIB = 1024 * 1024
UNKNOWN_MAX = 256  # holdings of unknown devices that are shown: more than a node can have of cards, each its metric
SHARES_MAX = 1024  # of one device: what the wire takes. No plugin offers more, and a broken one must not spoil a body

Slot = tuple[str, int]
Owners = Mapping[int, CgroupOwner | None]


def attribute(
    node: NodeReading | None, kubelet: KubeletReading | None, owners: Owners | None, memory: Memory
) -> tuple[Sight, Memory]:
    """What this beat saw, and what the next one must remember of it.

    node, kubelet, owners  None where the collector failed
    owners                 of the processes in `node`, by pid; None: gone, or we may not look
    """
    cards = _cards(node, memory.cards, memory.shares)
    if kubelet is None:
        sight = Sight(observed=False, cards=tuple(cards.values()))
        return sight, msgspec.structs.replace(memory, cards=cards)
    names = DeviceNames(cards.values())
    replicas = _replicas(kubelet.allocations, names)
    shares = _shares(kubelet, memory.shares, replicas, names)
    if shares != memory.shares:
        cards = _cards(node, memory.cards, shares)
    card_of = {card.uuid: card for card in cards.values()}
    card_of |= {instance.uuid: card for card in cards.values() for instance in card.instances}
    listed, unknown = _listed(kubelet.allocations, names, shares, replicas)
    claimants, superseded = _succession(listed, memory)
    records = _records(claimants, card_of)
    handed_on = {
        slot.rpartition("::")[0]
        for slot, now in claimants.items()
        if memory.claimants.get(slot) not in (None, (), now)
    }
    readings = {} if node is None else {gpu.uuid: of_holders_of_now(gpu, handed_on) for gpu in node.gpus}
    usage = usage_of_devices(records, card_of, readings, owners, memory.pod_uids)
    sight = Sight(
        observed=True,
        cards=tuple(cards.values()),
        holdings=tuple(_with_usage(record, usage) for record in records),
        uses=usage.uses,
        unknown_devices=len({each.device for each in unknown}),
        unknown=unknown[:UNKNOWN_MAX],
    )
    # A UID is worth remembering only while its pod holds something: the next pod of that name has another.
    holding = {pod_key(record) for record in records}
    pod_uids = {pod: uid for pod, uid in usage.pod_uids.items() if pod in holding}
    return sight, Memory(cards=cards, shares=shares, claimants=claimants, superseded=superseded, pod_uids=pod_uids)


def _replicas(allocations: Iterable[Allocation], names: DeviceNames) -> set[Slot]:
    """The shares that somebody was given singly."""
    ids = [parse_device_id(each.device_id) for each in allocations]
    return {(uuid, each.share) for each in ids if each.replica for uuid in names.find(each.device)}


def _shares(
    kubelet: KubeletReading, before: Mapping[str, int], replicas: Set[Slot], names: DeviceNames
) -> dict[str, int]:
    """Shares of each device, by the ids the kubelet offers.

    A device that is offered whole has none any more, once nobody holds a share of it. Nor has one that is claimed and
    of which nothing is offered: the kubelet's offer is that of plugins alone, and DRA drivers are not in it.
    """
    counted: dict[str, set[int]] = {}
    whole: set[str] = set()
    for _, text in kubelet.offered:
        device = parse_device_id(text)
        for uuid in names.find(device.device):
            if device.replica and device.share < SHARES_MAX:
                counted.setdefault(uuid, set()).add(device.share)
            elif not device.replica:
                whole.add(uuid)
    claimed = {uuid for each in kubelet.allocations if each.claim for uuid in names.find(each.device_id)}
    unshared = (whole | claimed - counted.keys()) - {uuid for uuid, _ in replicas}
    shares = {uuid: count for uuid, count in before.items() if uuid not in unshared}
    for uuid, numbers in counted.items():
        shares[uuid] = _share_count(numbers, shares.get(uuid, 1))
    return shares


def _share_count(numbers: set[int], before: int) -> int:
    """How many shares a device has of which these are offered.

    Kept when an answer shrinks, for plugins stop offering the shares of a device that is ill, one or all. But one
    that is told to make fewer of it offers them from the first on, and two at least: two or more less are not ill.
    """
    are_first = max(numbers) < len(numbers)
    return len(numbers) if are_first and 1 < len(numbers) < before - 1 else max(len(numbers), before)


def _cards(node: NodeReading | None, known: Mapping[str, Card], shares: Mapping[str, int]) -> dict[str, Card]:
    """All cards ever shown: what answers as it is now, the others as they last were, unhealthy."""
    cards = {} if node is None else {gpu.uuid: _card(gpu, shares) for gpu in node.gpus}
    for uuid, card in known.items():
        if uuid not in cards:
            cards[uuid] = card.silent(shares)
    return dict(sorted(cards.items(), key=lambda item: (item[1].index, item[0])))


def _card(gpu: GpuReading, shares: Mapping[str, int]) -> Card:
    total_mib = gpu.memory_total_bytes // MIB
    return Card(
        uuid=gpu.uuid,
        index=gpu.index,
        model=gpu.model,
        memory_mib=total_mib,
        minor=gpu.minor,
        slices_max=gpu.mig_slices_max,
        memory_slices=None if gpu.mig_slices_max is None else MEMORY_SLICES,
        mig=gpu.mig_enabled,
        shares=shares.get(gpu.uuid, 1),
        healthy=True,
        energy_mj=gpu.energy_mj,
        instances=tuple(
            Instance(
                uuid=each.uuid,
                profile=each.profile,
                gi=each.gpu_instance_id,
                ci=each.compute_instance_id,
                c=each.compute_slices,
                g=each.gpu_instance_slices,
                m=memory_slices(each.memory_mib, total_mib),
                shares=shares.get(each.uuid, 1),
                profile_id=each.profile_id,
                start=each.placement_start,
            )
            for each in gpu.instances
        ),
    )


def _listed(
    allocations: Iterable[Allocation], names: DeviceNames, shares: Mapping[str, int], replicas: Set[Slot]
) -> tuple[dict[Slot, list[Claimant]], tuple[UnknownHolding, ...]]:
    """Whom the kubelet lists on each slot, and who holds what no card here has.

    Who was given a device whole, perhaps before it was shared, is on all its slots but those given to others.
    """
    listed: dict[Slot, list[Claimant]] = {}
    unknown: list[UnknownHolding] = []
    for each in allocations:
        device = parse_device_id(each.device_id)
        uuids = names.find(device.device)
        claimant = Claimant(
            namespace=each.namespace,
            pod=each.pod,
            container=each.container,
            resource=each.resource,
            source="dra" if each.source == "dra" else "device-plugin",
            claim=each.claim,
        )
        if not uuids or device.share >= SHARES_MAX:
            unknown.append(UnknownHolding(device=each.device_id, holder=claimant))
            continue
        for uuid in uuids:
            slots = [(uuid, device.share)]
            if not device.replica and (count := shares.get(uuid, 1)) > 1:
                slots = [(uuid, share) for share in range(count) if (uuid, share) not in replicas]
            for slot in slots:
                on_slot = listed.setdefault(slot, [])
                if claimant not in on_slot:
                    on_slot.append(claimant)
    return {slot: sorted(on_slot, key=Claimant.key) for slot, on_slot in listed.items()}, tuple(unknown)


def _succession(
    listed: Mapping[Slot, list[Claimant]], memory: Memory
) -> tuple[dict[str, tuple[Claimant, ...]], dict[str, tuple[Claimant, ...]]]:
    """Who may hold each slot now, and who does no longer though the kubelet still lists him.

    A claimant that was not there before ends those who were, for kubelets before 1.34 list finished pods. Who claims
    by DRA ends nobody who does.
    """
    claimants: dict[str, tuple[Claimant, ...]] = {}
    superseded: dict[str, tuple[Claimant, ...]] = {}
    for (uuid, share), on_slot in listed.items():
        slot = f"{uuid}::{share}"
        before = memory.claimants.get(slot, ())
        ended = [each for each in memory.superseded.get(slot, ()) if each in on_slot]
        alive = [each for each in on_slot if each not in ended]
        parties_before = {each.party() for each in before}
        new = [each for each in alive if each.party() not in parties_before]
        if new and len(new) < len(alive):
            ended += [each for each in alive if each not in new]
            alive = new
        claimants[slot] = tuple(alive)
        if ended:
            superseded[slot] = tuple(ended)
    return claimants, superseded


def _records(claimants: Mapping[str, tuple[Claimant, ...]], card_of: Mapping[str, Card]) -> tuple[SeenHolding, ...]:
    """One record for each holder and device, with all its shares, ordered by device and share."""
    grouped: dict[tuple[str, Claimant, str], list[int]] = {}
    for slot, candidates in claimants.items():
        device = parse_device_id(slot)
        named = len({each.party() for each in candidates}) == 1
        holders = candidates if named else (candidates[0].nobody(),) if candidates else ()
        for holder in holders:
            evidence = _evidence(device.device, card_of[device.device], alone=len(holders) == 1) if named else "none"
            grouped.setdefault((device.device, holder, evidence), []).append(device.share)
    records = [
        SeenHolding(device=uuid, shares=tuple(sorted(shares)), holder=holder, evidence=evidence)
        for (uuid, holder, evidence), shares in grouped.items()
    ]
    return tuple(sorted(records, key=lambda record: (record.device, record.shares, record.holder.key())))


def _evidence(device: str, card: Card, *, alone: bool) -> str:
    """Why we believe the holder's part: alone on a whole device, or an equal part of a shared one.

    Of a card that NVML does not see now (lost, hung, or bound to vfio for a virtual machine) only the kubelet tells.
    """
    if not card.healthy:
        return "kubelet"
    if not alone or card.shares_of(device) > 1:
        return "equal"
    return "exclusive" if device == card.uuid else "mig"


def _with_usage(record: SeenHolding, usage: UsageByDevice) -> SeenHolding:
    found = usage.of_holders.get(record.device)
    if found is None:
        return record
    return SeenHolding(
        device=record.device,
        shares=record.shares,
        holder=record.holder,
        evidence=record.evidence,
        pod_uid=found.pod_uid,
        busy_ppm=found.busy_ppm,
        memory_bytes=found.memory_bytes,
        memory_peak_bytes=found.memory_peak_bytes,
    )
