"""How busy each line was, what it drew and its memory, as far as the product says: within what a beat may be late.

What an agent sees in one beat holds until the next one, so a change may count some beats too early or too late. Where
nobody could know (several pods on a device, a stranger's process, a lost card) a number is a difference, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from tests.proof.comparison.case import Case, Difference, line_text, name
from tests.proof.comparison.evidence_checks import KUBELET
from tests.proof.comparison.export import Line
from tests.proof.comparison.matching import API, Match
from tests.proof.witness.courses import (
    MIB,
    SECOND_MS,
    Course,
    busy_ms,
    courses,
    energy_mj,
    memory_byte_s,
    swings,
    told_all_along,
)
from tests.proof.witness.lives import clock

LATE_MS = 2_000  # a change counts so much too late, with beats of a second, on a busy machine
NEAR_MS = 3_000  # so near to a line's ends, or to a time without sight, it is open what the driver could tell
READ_MS = 1_000  # the driver is asked so long after a beat began, on a busy machine
ROUND_MS = 300  # busy time is counted in whole beats
ROUND_BYTE_S = 100  # and memory in whole byte-seconds, a record and a share at a time
LONG_MS = 8_000  # over so long a line a driver that can tell has told


def check_usage(case: Case) -> Iterator[Difference]:
    found = courses(case.testimony.holds, case.testimony.told)
    by_line: dict[tuple[int, ...], tuple[Line, list[tuple[Course, ...]], int | None]] = {}
    for match in case.matching.matches:
        for pieces in _pieces(match.lines):
            started_ms = match.stay.holds[0].started_ms
            known = by_line.setdefault(tuple(map(id, pieces)), (_together(pieces), [], started_ms))
            known[1].append(_course(match, found))
    for line, of_shares, started_ms in by_line.values():
        if line.evidence.startswith(API) or line.evidence == KUBELET:
            yield from _check_unseen(line)
        else:
            yield from _check_started(line, started_ms)
            yield from _check_busy(case, line, of_shares)
            yield from _check_energy(case, line, of_shares)
            yield from _check_memory(case, line, of_shares)


def _check_unseen(line: Line) -> Iterator[Difference]:
    """The API and the kubelet know who held, and nothing of what he did."""
    use = (("busy", line.busy_ms), ("energy", line.energy_mj), ("memory", line.memory_byte_s))
    for kind, said in use:
        if said is not None:
            product = f"{said}: {line_text(line)}"
            yield Difference(kind=kind, subject=name(line.holder), witness="no driver told of it", product=product)


def _check_started(line: Line, started_ms: int | None) -> Iterator[Difference]:
    """No longer busy than its container has been running: before it started nobody can have been busy."""
    if started_ms is None or line.busy_ms is None:
        return
    ran_ms = max(0, line.until_ms - max(line.from_ms, started_ms))
    if line.busy_ms > ran_ms:
        witness = f"its container started at {clock(started_ms)}, and ran for {ran_ms} ms of this"
        product = f"busy for {line.busy_ms} ms: {line_text(line)}"
        yield Difference(kind="start", subject=name(line.holder), witness=witness, product=product)


def _pieces(lines: Sequence[Line]) -> Iterator[tuple[Line, ...]]:
    """Lines that follow each other, where the same is known of both: what was measured of them together is prorated
    by time where an owner changes, and only their sum was measured."""
    pieces: tuple[Line, ...] = ()
    for line in lines:
        if pieces and _goes_on(pieces[-1], line):
            pieces = (*pieces, line)
        else:
            if pieces:
                yield pieces
            pieces = (line,)
    if pieces:
        yield pieces


def _goes_on(before: Line, line: Line) -> bool:
    return (before.until_ms, before.device, before.shares, before.evidence) == (
        line.from_ms,
        line.device,
        line.shares,
        line.evidence,
    ) and all(
        (getattr(before, what) is None) == (getattr(line, what) is None)
        for what in ("busy_ms", "energy_mj", "memory_byte_s")
    )


def _together(pieces: Sequence[Line]) -> Line:
    """As one line."""

    def of(what: str) -> int | None:
        known = [getattr(each, what) for each in pieces]
        return None if None in known else sum(known)

    return replace(
        pieces[0],
        until_ms=pieces[-1].until_ms,
        busy_ms=of("busy_ms"),
        memory_byte_s=of("memory_byte_s"),
        energy_mj=of("energy_mj"),
    )


def _course(match: Match, found: Sequence[tuple[Course, ...]]) -> tuple[Course, ...]:
    return tuple(course for number in match.stay.numbers for course in found[number])


def _check_busy(case: Case, line: Line, of_shares: Sequence[Sequence[Course]]) -> Iterator[Difference]:
    inner = (line.from_ms + NEAR_MS, line.until_ms - NEAR_MS)
    truly = sum((busy_ms(course, line.from_ms, line.until_ms) for course in of_shares), Fraction(0))

    def differs(witness: str, product: str) -> Difference:
        said = f"{product}: {line_text(line)}"
        return Difference(kind="busy", subject=name(line.holder), witness=witness, product=said)

    if line.busy_ms is None:
        if line.ms > LONG_MS and _could_be_told(case, line, of_shares):
            yield differs(f"busy for {float(truly):.0f} ms, and alone on the device", "does not know")
        return
    if line.ms > LONG_MS and not any(_ever_told(course, *inner) for course in of_shares):
        yield differs("nobody could know: it was not alone on the device", f"busy for {line.busy_ms} ms")
        return
    less, more = _late(case, line, of_shares, "busy")
    least, most = truly - less - ROUND_MS, truly + more + ROUND_MS
    if not least <= line.busy_ms <= most:
        yield differs(
            f"busy for {float(truly):.0f} ms: {float(least):.0f} to {float(most):.0f}", f"busy for {line.busy_ms} ms"
        )


def _check_energy(case: Case, line: Line, of_shares: Sequence[Sequence[Course]]) -> Iterator[Difference]:
    truly = sum((energy_mj(course, line.from_ms, line.until_ms) for course in of_shares), Fraction(0))
    if line.energy_mj is None:
        if line.ms > LONG_MS and _could_be_told(case, line, of_shares):
            yield Difference(
                kind="energy", subject=name(line.holder),
                witness=f"{float(truly) / 1000:.1f} J, as the driver tells",
                product=f"does not know: {line_text(line)}",
            )  # fmt: skip
        return
    watts = max((each.watts for course in of_shares for each in course), default=Fraction(0))
    less, more = _late(case, line, of_shares, "watts")
    least, most = truly - less - watts * READ_MS, truly + more + watts * READ_MS
    if not least <= line.energy_mj <= most:
        yield Difference(
            kind="energy",
            subject=name(line.holder),
            witness=f"{float(truly) / 1000:.1f} J: {float(least) / 1000:.1f} to {float(most) / 1000:.1f}",
            product=f"{line.energy_mj / 1000:.1f} J: {line_text(line)}",
        )


def _check_memory(case: Case, line: Line, of_shares: Sequence[Sequence[Course]]) -> Iterator[Difference]:
    """Known where one container is alone on its device, at least."""
    truly = sum((memory_byte_s(course, line.from_ms, line.until_ms) for course in of_shares), Fraction(0))
    less, more = _late(case, line, of_shares, "memory")
    least, most = truly - less * MIB / SECOND_MS - ROUND_BYTE_S, truly + more * MIB / SECOND_MS
    said = line.memory_byte_s
    if (line.ms > LONG_MS and _could_be_told(case, line, of_shares)) if said is None else not least <= said <= most:
        yield Difference(
            kind="memory", subject=name(line.holder),
            witness=f"{float(truly):.0f} byte-seconds of memory: {float(least):.0f} to {float(most):.0f}",
            product=f"{'does not know' if said is None else said}: {line_text(line)}",
        )  # fmt: skip


def _late(case: Case, line: Line, of_shares: Sequence[Sequence[Course]], what: str) -> tuple[Fraction, Fraction]:
    """How much too little, and too much, a line may have of it, in milliseconds of each unit.

    What rises is counted too late, and what falls too long, by a beat that is late; and either too early, by a beat
    that asks the driver later than it began. Beside a time without sight all may be late.
    """
    found = [swings(course, what, line.from_ms - NEAR_MS, line.until_ms + NEAR_MS) for course in of_shares]
    rise, fall = (sum(each, Fraction(0)) for each in zip(*found, strict=True))
    if _was_blind(case, line):
        return (rise + fall) * LATE_MS, (rise + fall) * LATE_MS
    return rise * LATE_MS + fall * READ_MS, fall * LATE_MS + rise * READ_MS


def _ever_told(course: Sequence[Course], from_ms: int, until_ms: int) -> bool:
    return any(each.told for each in course if each.from_ms < until_ms and from_ms < each.until_ms)


def _could_be_told(case: Case, line: Line, of_shares: Sequence[Sequence[Course]]) -> bool:
    """All along the line, but for the beats at its ends."""
    inner = (line.from_ms + NEAR_MS, line.until_ms - NEAR_MS)
    return all(told_all_along(course, *inner) for course in of_shares) and not _was_blind(case, line)


def _was_blind(case: Case, line: Line) -> bool:
    spans = [*case.blind(), *case.lost(line.gpu)]
    return any(a - NEAR_MS < line.until_ms and line.from_ms < b + NEAR_MS for a, b in spans)
