"""What a node-hour leaves to the next, as a column of its row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from chargeback.core.existence import KnownGpu, KnownInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Its living cards, by uuid, and the slots that known pods hold at its end (device, share, uid)."""

    gpus: tuple[KnownGpu, ...] = ()
    held: tuple[tuple[str, int, str], ...] = ()


NOTHING = Known()

# Most cards of a node differ in their uuids alone: what they have in common is written once.
_Kind = tuple[str, int, int | None, int, int, bool, int, tuple[KnownInstance, ...]]
_kind_of: Callable[[KnownGpu], _Kind] = attrgetter(
    "model", "memory_mib", "slices_max", "memory_slices", "last_observed_ms", "mig", "shares", "instances"
)
_decoder = msgspec.json.Decoder(tuple[list[tuple[_Kind, list[str]]], tuple[tuple[str, int, str], ...]])


def read_known(text: str) -> Known:
    """What `write_known` wrote, now or when it still wrote each card by itself."""
    if text.startswith("{"):
        return msgspec.json.decode(text, type=Known)
    kinds, held = _decoder.decode(text)
    gpus = [gpu for kind, uuids in kinds for gpu in _of_kind(kind, uuids)]
    return Known(gpus=tuple(sorted(gpus, key=attrgetter("uuid"))), held=held)


def _of_kind(kind: _Kind, uuids: Sequence[str]) -> list[KnownGpu]:
    model, memory_mib, slices_max, memory_slices, last_observed_ms, mig, shares, instances = kind
    return [
        KnownGpu(
            uuid=uuid,
            model=model,
            memory_mib=memory_mib,
            slices_max=slices_max,
            memory_slices=memory_slices,
            last_observed_ms=last_observed_ms,
            mig=mig,
            shares=shares,
            instances=instances,
        )
        for uuid in uuids
    ]


def write_known(known: Known) -> str:
    """As JSON: [[[kind, [uuid, …]], …], held]."""
    kinds: dict[_Kind, list[str]] = {}
    for gpu in known.gpus:
        kinds.setdefault(_kind_of(gpu), []).append(gpu.uuid)
    return msgspec.json.encode((list(kinds.items()), known.held)).decode()
