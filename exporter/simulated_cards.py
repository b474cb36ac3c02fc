"""The hardware of a simulated node: cards, the MIG instances in them, and the kubelet's ids for their shares."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

MEMORY_SLICES = 8  # of every card that has MIG
WHOLE_RESOURCE = "nvidia.com/gpu"
_PROFILE = re.compile(r"(?:([1-9])c\.)?([1-9])g\.([1-9]\d{0,3})gb([+-][a-z.]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a card's model says about it. mig_slices_max: None where the model has no MIG; gpm: from Hopper on."""

    name: str
    idle_watts: int
    peak_watts: int
    mig_slices_max: int | None = None
    gpm: bool = False


# The first whose name is part of the model's name counts, so L40 stands before L4, and a GH200 is an H200.
KINDS = (
    Kind(name="RTX PRO 6000", idle_watts=40, peak_watts=600, mig_slices_max=4, gpm=True),
    Kind(name="A100", idle_watts=50, peak_watts=400, mig_slices_max=7),
    Kind(name="A30", idle_watts=30, peak_watts=165, mig_slices_max=4),
    Kind(name="H100", idle_watts=70, peak_watts=700, mig_slices_max=7, gpm=True),
    Kind(name="H200", idle_watts=75, peak_watts=700, mig_slices_max=7, gpm=True),
    Kind(name="B200", idle_watts=140, peak_watts=1000, mig_slices_max=7, gpm=True),
    Kind(name="B300", idle_watts=150, peak_watts=1100, mig_slices_max=7, gpm=True),
    Kind(name="L40", idle_watts=35, peak_watts=350),
    Kind(name="L4", idle_watts=16, peak_watts=72),
    Kind(name="T4", idle_watts=10, peak_watts=70),
    Kind(name="", idle_watts=40, peak_watts=300),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A MIG profile: compute slices of the compute instance (c) and of its GPU instance (g), memory slices (m)."""

    name: str
    compute_slices: int
    gpu_instance_slices: int
    memory_slices: int

    @property
    def resource(self) -> str:
        return "nvidia.com/mig-" + self.name.replace("+", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a pod can hold: a whole card (profile None) or a MIG instance.

    slots          ids of its shares, or of itself where it is not shared
    compute_ratio  how much of the card's compute it has
    """

    uuid: str
    resource: str
    slots: tuple[str, ...]
    memory_mib: int
    compute_ratio: float = 1.0
    profile: Profile | None = None
    gpu_instance_id: int = 0
    compute_instance_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card. entry: its position in the scenario's list `gpus`."""

    index: int
    entry: int
    uuid: str
    model: str
    kind: Kind
    memory_mib: int
    mig_enabled: bool
    devices: tuple[Device, ...]


def derived(*key: object, size: int = 16) -> bytes:
    """Bytes that look random and are the same for the same key, in every process and on every machine."""
    return hashlib.blake2b("\0".join(map(str, key)).encode(), digest_size=size).digest()


def derived_uuid(*key: object) -> str:
    return str(uuid.UUID(bytes=derived(*key)))


def kind_of(model: str) -> Kind:
    return next(kind for kind in KINDS if kind.name in model)


def parse_profile(name: str, card_memory_mib: int) -> Profile | None:
    """Read a profile's name, as `1c.3g.40gb` or `1g.10gb+me`. None: it is no profile.

    Memory slices are not in the name: they are the nearest number of eighths of the card.
    """
    if not (found := _PROFILE.fullmatch(name)):
        return None
    g = int(found[2])
    c = int(found[1] or g)
    m = max(1, round(int(found[3]) * 1024 * MEMORY_SLICES / card_memory_mib))
    return Profile(name=name, compute_slices=c, gpu_instance_slices=g, memory_slices=m) if c <= g else None


def whole_card(*, seed: str, index: int, entry: int, model: str, memory_mib: int, shares: int) -> Card:
    card_uuid = f"GPU-{derived_uuid(seed, 'gpu', index)}"
    device = Device(uuid=card_uuid, resource=WHOLE_RESOURCE, slots=_slots(card_uuid, shares), memory_mib=memory_mib)
    return Card(
        index=index,
        entry=entry,
        uuid=card_uuid,
        model=model,
        kind=kind_of(model),
        memory_mib=memory_mib,
        mig_enabled=False,
        devices=(device,),
    )


def mig_card(
    *, seed: str, index: int, entry: int, model: str, memory_mib: int, shares: int, profiles: Sequence[Profile]
) -> Card:
    """A card cut into instances. Raises ValueError where they are more than the card has."""
    kind = kind_of(model)
    slices = kind.mig_slices_max
    if slices is None:
        raise ValueError(f"a model with MIG: {model} has none")
    devices = []
    for position, (profile, gpu_instance_id, compute_instance_id) in enumerate(_instances(profiles)):
        device_uuid = f"MIG-{derived_uuid(seed, 'mig', index, position)}"
        devices.append(
            Device(
                uuid=device_uuid,
                resource=profile.resource,
                slots=_slots(device_uuid, shares),
                memory_mib=memory_mib * profile.memory_slices // MEMORY_SLICES,
                compute_ratio=profile.compute_slices / slices,
                profile=profile,
                gpu_instance_id=gpu_instance_id,
                compute_instance_id=compute_instance_id,
            )
        )
    gpu_instances = {device.gpu_instance_id: profile for device, profile in zip(devices, profiles, strict=True)}
    compute = sum(profile.gpu_instance_slices for profile in gpu_instances.values())
    memory = sum(profile.memory_slices for profile in gpu_instances.values())
    if compute > slices or memory > MEMORY_SLICES:
        raise ValueError(
            f"at most {slices} compute and {MEMORY_SLICES} memory slices: these are {compute} and {memory}"
        )
    return Card(
        index=index,
        entry=entry,
        uuid=f"GPU-{derived_uuid(seed, 'gpu', index)}",
        model=model,
        kind=kind,
        memory_mib=memory_mib,
        mig_enabled=True,
        devices=tuple(devices),
    )


def _slots(device_uuid: str, shares: int) -> tuple[str, ...]:
    return (device_uuid,) if shares == 1 else tuple(f"{device_uuid}::{n}" for n in range(shares))


def _instances(profiles: Sequence[Profile]) -> list[tuple[Profile, int, int]]:
    """Each profile with its GPU and compute instance: neighbours like 1c.3g fill one GPU instance before the next."""
    placed: list[tuple[Profile, int, int]] = []
    gpu_instance, compute_instance, compute_left, shape = 0, 0, 0, ""
    for profile in profiles:
        of_gpu_instance = profile.name.partition("c.")[2] or profile.name
        if of_gpu_instance == shape and profile.compute_slices <= compute_left:
            compute_instance += 1
        else:
            gpu_instance, compute_instance = gpu_instance + 1, 0
            compute_left, shape = profile.gpu_instance_slices, of_gpu_instance
        compute_left -= profile.compute_slices
        placed.append((profile, gpu_instance, compute_instance))
    return placed
