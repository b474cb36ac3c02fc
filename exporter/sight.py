"""What one beat saw, and what the next one must remember: values that the spool can hold. No rules, no I/O.

Whole numbers only, so that sums of them do not depend on the order or on where an agent was cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

PPM = 1_000_000  # a ratio of 1, in millionths


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """Compared by value; small in the spool."""


class Instance(Struct, frozen=True, kw_only=True):
    """A MIG device as it was seen. c, g, m as on the wire; profile_id, start (where it lies) of its GPU instance."""

    uuid: str
    profile: str
    gi: int
    ci: int
    c: int
    g: int
    m: int
    shares: int = 1
    profile_id: int | None = None
    start: int | None = None


class Card(Struct, frozen=True, kw_only=True):
    """A card as it was seen, or as it last was if it is silent now.

    shares     of the whole card, which count while it is not in MIG mode
    healthy    it answered in this beat
    energy_mj  where its counter stands, in millijoules
    """

    uuid: str
    index: int
    model: str
    memory_mib: int
    minor: int | None = None
    slices_max: int | None = None
    memory_slices: int | None = None
    mig: bool = False
    shares: int = 1
    healthy: bool = True
    instances: tuple[Instance, ...] = ()
    energy_mj: int | None = None

    def shares_of(self, device: str) -> int:
        return next((each.shares for each in self.instances if each.uuid == device), self.shares)

    def silent(self, shares: Mapping[str, int]) -> Card:
        """The same card when it does not answer; the kubelet may still say how it is shared."""
        return msgspec.structs.replace(
            self,
            healthy=False,
            energy_mj=None,
            shares=shares.get(self.uuid, 1),
            instances=tuple(
                msgspec.structs.replace(each, shares=shares.get(each.uuid, 1)) for each in self.instances
            ),
        )


class Claimant(Struct, frozen=True, kw_only=True):
    """A container that the kubelet lists on a slot. Names all empty: the slot is held, but nobody can say by whom."""

    namespace: str
    pod: str
    container: str
    resource: str
    source: Literal["device-plugin", "dra"] = "device-plugin"
    claim: str | None = None

    def key(self) -> tuple[str, ...]:
        return (self.namespace, self.pod, self.container, self.resource, self.source, self.claim or "")

    def party(self) -> tuple[str, ...]:
        """Those who may be on one slot together: all who claim by DRA.

        Consumers of one ResourceClaim share it. Other claims of a device that is taken only watch (adminAccess): the
        kubelet does not say which do, and lists none that are over, so all are told.
        """
        if self.claim is not None:
            return ("dra",)
        return (self.namespace, self.pod, self.container)

    def nobody(self) -> Claimant:
        return Claimant(namespace="", pod="", container="", resource=self.resource)


class SeenHolding(Struct, frozen=True, kw_only=True):
    """A holder on some shares of one device.

    busy_ppm, memory_bytes  of all of them together, None where unknown
    memory_peak_bytes       since the beat before, never less than memory_bytes
    """

    device: str
    shares: tuple[int, ...]
    holder: Claimant
    evidence: str
    pod_uid: str | None = None
    busy_ppm: int | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None


class SeenUse(Struct, frozen=True, kw_only=True):
    """Processes on a device that their pod does not hold. container: its id, `pod<uid>`, or `host`."""

    device: str
    container: str | None = None
    runtime: str | None = None
    busy_ppm: int | None = None
    memory_bytes: int | None = None


class UnknownHolding(Struct, frozen=True, kw_only=True):
    """A device that the kubelet gave away and no card here has, by the kubelet's id."""

    device: str
    holder: Claimant


class Sight(Struct, frozen=True, kw_only=True):
    """One beat. observed: the kubelet answered. cards: all that were ever shown, ordered by index.

    unknown_devices  how many ids are held that mean no card here; unknown: by whom, of the first so many
    """

    observed: bool
    cards: tuple[Card, ...] = ()
    holdings: tuple[SeenHolding, ...] = ()
    uses: tuple[SeenUse, ...] = ()
    unknown_devices: int = 0
    unknown: tuple[UnknownHolding, ...] = ()


class Memory(Struct, frozen=True, kw_only=True):
    """What attribution must know of the beats before.

    cards       by UUID, as last seen in this process's life
    shares      of each device that is shared
    claimants   by slot (`uuid::n`): who may hold it
    superseded  by slot: whose holding has ended though the kubelet still lists him
    pod_uids    by `namespace/pod`: the UID its processes were seen with
    """

    cards: dict[str, Card] = {}
    shares: dict[str, int] = {}
    claimants: dict[str, tuple[Claimant, ...]] = {}
    superseded: dict[str, tuple[Claimant, ...]] = {}
    pod_uids: dict[str, str] = {}

    def after_restart(self) -> Memory:
        """What a new process may believe. Not the cards: one that is gone for good must be forgotten some day."""
        return msgspec.structs.replace(self, cards={})
