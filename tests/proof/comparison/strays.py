"""Use without allocation: what agents report of the host's processes on cards, against what was told of them.

It is on no line of the bill. An agent's account has it by device, for an hour: what was not known for a moment is
unknown for all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.proof.comparison.case import Difference
from tests.proof.witness.lives import SECOND_MS
from tests.proof.witness.testimony import HOST, Card, Load, Testimony

HOSTS = "host"  # as the container of a process that is in none
MIB = 1 << 20
LATE_MS = 3_000  # a beat of a second may be late at its begin and at its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """Of a device. None: unknown."""

    busy_ms: int | None
    memory_byte_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """A process of the host's on a device. beside: for how long others were there while one of them worked."""

    load: Load
    ms: int
    beside_ms: int


def strays_of(bodies: Iterable[Mapping[str, Any]]) -> dict[str, Stray]:
    """Of the host, by device: of several node-hours together, as they are pushed."""
    found: dict[str, Stray] = {}
    for body in bodies:
        for each in body.get("unallocated_use", ()):
            if each.get("container") == HOSTS:
                before = found.get(each["device"], Stray(busy_ms=0, memory_byte_s=0))
                busy_ms = _plus(before.busy_ms, each.get("busy_ms"))
                memory_byte_s = _plus(before.memory_byte_s, each.get("memory_byte_seconds"))
                found[each["device"]] = Stray(busy_ms=busy_ms, memory_byte_s=memory_byte_s)
    return found


def strays_since(before: Mapping[str, Stray], now: Mapping[str, Stray]) -> dict[str, Stray]:
    """What has come to it."""
    found = {}
    for device, each in now.items():
        if each != (old := before.get(device, Stray(busy_ms=0, memory_byte_s=0))):
            busy_ms = _plus(each.busy_ms, None if old.busy_ms is None else -old.busy_ms)
            memory_byte_s = _plus(each.memory_byte_s, None if old.memory_byte_s is None else -old.memory_byte_s)
            found[device] = Stray(busy_ms=busy_ms, memory_byte_s=memory_byte_s)
    return found


def check_strays(testimony: Testimony, strays: Mapping[str, Stray]) -> Iterator[Difference]:
    visits: dict[str, list[_Visit]] = {}
    for each in _visits(testimony):
        visits.setdefault(each.load.device, []).append(each)
    cards = {each.gpu for each in testimony.told if isinstance(each, Card)}
    for device in sorted({*visits, *strays}):
        said, here = strays.get(device), visits.get(device, [])
        if said is None or not here:
            witness = "; ".join(_text(each) for each in here) or "no process of the host's worked there"
            yield _differs(device, witness, "no such use" if said is None else str(said))
            continue
        yield from _check_memory(device, here, said)
        yield from _check_busy(device, here, said, can_be_told=device in cards)


def _check_memory(device: str, visits: Iterable[_Visit], said: Stray) -> Iterator[Difference]:
    truly = sum(each.load.memory_mib * MIB * each.ms for each in visits) // SECOND_MS
    late = sum(each.load.memory_mib * MIB * LATE_MS for each in visits) // SECOND_MS
    if said.memory_byte_s is None or abs(said.memory_byte_s - truly) > late:
        yield _differs(device, f"memory for {truly} byte-seconds, give or take {late}", str(said))


def _check_busy(device: str, visits: Iterable[_Visit], said: Stray, *, can_be_told: bool) -> Iterator[Difference]:
    """The driver tells what one process did only where nobody else is; under MIG it never does."""
    percents = [each.load.sm_percent for each in visits]
    known = [each for each in percents if each is not None]
    together_ms = sum(each.beside_ms for each in visits)
    if said.busy_ms is None:
        if can_be_told and len(known) == len(percents) and not together_ms:
            yield _differs(device, "it was alone there: how busy it was can be told", str(said))
        return
    if not can_be_told or len(known) < len(percents) or together_ms > LATE_MS:
        yield _differs(
            device, f"nobody could know how busy it was: others were there for {together_ms} ms", str(said)
        )
        return
    truly = sum((each.load.sm_percent or 0) * each.ms for each in visits) // 100
    late = sum(known) * LATE_MS // 100
    if abs(said.busy_ms - truly) > late:
        yield _differs(device, f"busy for {truly} ms, give or take {late}", str(said))


def _visits(testimony: Testimony) -> Iterator[_Visit]:
    spans: list[tuple[Load, int]] = []
    running: dict[tuple[str, int], Load] = {}
    for each in testimony.told:
        if isinstance(each, Load):
            before = running.pop((each.device, each.pid), None)
            if before is not None:
                spans.append((before, each.at_ms))
            if not each.over:
                running[each.device, each.pid] = each
    spans += [(each, testimony.until_ms) for each in running.values()]
    for load, until_ms in spans:
        if load.namespace == HOST:
            beside = (_overlap_ms(load, until_ms, *other) for other in spans if other[0].pid != load.pid)
            yield _Visit(load=load, ms=until_ms - load.at_ms, beside_ms=sum(beside))


def _overlap_ms(load: Load, until_ms: int, other: Load, other_until_ms: int) -> int:
    if other.device != load.device or not (load.sm_percent or other.sm_percent):
        return 0
    return max(0, min(until_ms, other_until_ms) - max(load.at_ms, other.at_ms))


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _text(visit: _Visit) -> str:
    return f"process {visit.load.pid} for {visit.ms} ms, {visit.load.sm_percent} %, {visit.load.memory_mib} MiB"


def _differs(device: str, witness: str, product: str) -> Difference:
    return Difference(kind="stray", subject=device, witness=witness, product=product)
