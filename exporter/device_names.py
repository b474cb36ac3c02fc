"""Which devices of this node a name means: by UUID, or as plugins and DRA drivers call them. Pure, no I/O.

A name that could mean several is nobody's: guessed, it would stand on somebody's bill.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from exporter.sight import Card, Instance

# GKE's plugin: /dev/nvidiaN, and a GPU instance of it.
_GKE = re.compile(r"nvidia([0-9]{1,9})(?:/gi([0-9]{1,9}))?")
# Drivers before R470: <card>/<GPU instance>/<compute instance>.
_OLD_MIG = re.compile(r"MIG-(GPU-.+)/([0-9]{1,9})/([0-9]{1,9})", re.DOTALL)
# NVIDIA's DRA driver, behind driver and pool: a card by its minor number; a GPU instance by that, its profile's name
# and id and the first of its memory slices; in its releases of 2024 and 2025 by id, first slice and their number.
# (`gpu-vfio-<n>` counts cards that NVML does not see: it means none that we know.)
_DRA = re.compile(r"gpu\.nvidia\.com/[^/]+/gpu-([0-9]{1,9})(?:-mig-(.+))?")
_DRA_MIG_SLICES = re.compile(r"([0-9]{1,9})-([0-9]{1,9})-[0-9]{1,9}")
_DRA_MIG = re.compile(r"(.+)-([0-9]{1,9})-([0-9]{1,9})")
_NOT_IN_A_DRA_NAME = re.compile(r"[^a-z0-9-]")


class DeviceNames:
    """The devices of these cards by all their names, as they lie now."""

    def __init__(self, cards: Iterable[Card]) -> None:
        self._cards: dict[str, Card] = {}
        self._uuids: set[str] = set()
        self._by_minor: dict[int, list[Card]] = {}
        for card in cards:
            self._cards[card.uuid] = card
            self._uuids |= {card.uuid, *(each.uuid for each in card.instances)}
            if card.minor is not None:
                self._by_minor.setdefault(card.minor, []).append(card)

    def find(self, name: str) -> tuple[str, ...]:
        """UUIDs of the devices that a name means; none where no card here has it, or more than one may be meant.

        The name of a GPU instance means all compute instances in it.
        """
        if name in self._uuids:
            return (name,)
        if match := _GKE.fullmatch(name):
            card = self._card(int(match[1]))
            if card is None or match[2] is None:
                return _uuid_of(card)
            return _uuids(each for each in card.instances if each.gi == int(match[2]))
        if match := _OLD_MIG.fullmatch(name):
            of_old = self._cards.get(match[1])
            ids = int(match[2]), int(match[3])
            return () if of_old is None else _uuids(each for each in of_old.instances if (each.gi, each.ci) == ids)
        if match := _DRA.fullmatch(name):
            card = self._card(int(match[1]))
            return _uuid_of(card) if card is None or match[2] is None else _claimed(card, match[2])
        return ()

    def _card(self, minor: int) -> Card | None:
        """A card that does not answer gives way: its number may have gone to another meanwhile."""
        found = self._by_minor.get(minor, [])
        found = [card for card in found if card.healthy] or found
        return found[0] if len(found) == 1 else None


def _claimed(card: Card, named: str) -> tuple[str, ...]:
    """The instances that are there now of what a claim's device says: a claim may be older than a reconfiguration."""
    if match := _DRA_MIG_SLICES.fullmatch(named):
        profile, profile_id, start = None, int(match[1]), int(match[2])
    elif match := _DRA_MIG.fullmatch(named):
        profile, profile_id, start = match[1], int(match[2]), int(match[3])
    else:
        return ()
    placed = _uuids(each for each in card.instances if (each.profile_id, each.start) == (profile_id, start))
    if placed:
        return placed
    # Where they lie takes privileges to see. Without, the only instance of a profile is still the one that is meant.
    unplaced = [each for each in card.instances if each.start is None and _in_dra_name(each.profile) == profile]
    return _uuids(unplaced) if len({each.gi for each in unplaced}) == 1 else ()


def _in_dra_name(profile: str) -> str:
    """A GPU instance's profile as it stands in a DRA name, which has neither dots nor plus signs."""
    of_gpu_instance = re.sub(r"^[0-9]+c\.", "", profile)
    return _NOT_IN_A_DRA_NAME.sub("-", of_gpu_instance.replace(".", "").lower()).strip("-")


def _uuid_of(card: Card | None) -> tuple[str, ...]:
    return () if card is None else (card.uuid,)


def _uuids(instances: Iterable[Instance]) -> tuple[str, ...]:
    return tuple(sorted(each.uuid for each in instances))
