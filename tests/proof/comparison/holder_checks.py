"""Every stay has its lines: from its bind to its end, on its device, on its owner's account, once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.proof.comparison.case import Case, Difference, line_text, lines_text, name
from tests.proof.comparison.export import Line
from tests.proof.comparison.matching import Match, Stay
from tests.proof.witness.lives import SECOND_MS, UNOWNED, clock
from tests.proof.witness.testimony import Hold

BEAT_MS = 1_000  # what a beat sees counts from its beginning: so much later the kubelet may answer it
HEARD_MS = 250  # two who hear that a pod is gone hear it so far from one another
LOOKED_MS = 10_500  # whom the kubelet refused is billed until the product last noted him alive: so often it notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """end_ms: the farthest that an end lies from the witness's stamp."""

    differences: tuple[Difference, ...]
    end_ms: int


def check_holders(case: Case) -> Ends:
    found = [
        Difference(kind="doubled", subject=name(line.holder), witness="nobody held it", product=line_text(line))
        for line in case.matching.loose
    ]
    found += [
        Difference(kind="device", subject=name(line.holder), witness=str(match.stay), product=line_text(line))
        for match, line in case.matching.astray
    ]
    astray = {id(match) for match, _ in case.matching.astray}
    off_ms = 0
    for match in case.matching.matches:
        if id(match) in astray:
            continue
        found += _check_time(case, match)
        found += _check_lines(match)
        if match.lines:
            begun, ended = match.lines[0].from_ms, max(line.until_ms for line in match.lines)
            off_ms = max(off_ms, abs(begun - match.stay.from_ms))
            if not _was_refused(match.stay):  # nobody stamps that
                off_ms = max(off_ms, abs(match.stay.until_ms - ended))
    return Ends(differences=tuple(found), end_ms=off_ms)


def _check_time(case: Case, match: Match) -> Iterator[Difference]:
    """Unbroken, once, and from stamp to stamp."""
    stay, lines = match.stay, match.lines

    def differs(kind: str, witness: str) -> Difference:
        return Difference(kind=kind, subject=name(stay.holder), witness=witness, product=lines_text(lines))

    if not lines:
        if stay.until_ms - stay.from_ms > SECOND_MS:  # else it may have ended in the instant in which it began
            yield differs("missing", str(stay))
        return
    for before, after in itertools.pairwise(lines):
        if after.from_ms < before.until_ms:
            yield differs("doubled", f"{stay}: once from {clock(after.from_ms)}")
        elif after.from_ms > before.until_ms:
            yield differs("missing", f"{stay}: also from {clock(before.until_ms)} to {clock(after.from_ms)}")
    begin_ms = _begin_ms(case, match)
    if not begin_ms - BEAT_MS <= lines[0].from_ms <= begin_ms:
        yield differs("interval", f"{stay}: from {clock(begin_ms)}")
    first_ms, last_ms = _end_ms(case, stay)
    ended_ms = max(line.until_ms for line in lines)
    if not first_ms <= ended_ms <= last_ms:
        yield differs("interval", f"{stay}: ends between {clock(first_ms)} and {clock(last_ms)}")


def _begin_ms(case: Case, match: Match) -> int:
    """At its bind; where the slot's holder before was there until later in that second, when he went."""
    device = match.lines[0].device if match.guessed else match.stay.slot[0]
    slot = (device, match.stay.slot[1])
    before = [
        max(line.until_ms for line in other.lines)
        for other in case.matching.matches
        if other is not match
        and other.lines
        and (other.lines[0].device, other.stay.slot[1]) == slot
        and other.stay.from_ms <= match.stay.from_ms < other.stay.until_ms
    ]
    return max([match.stay.from_ms, *before])


def _end_ms(case: Case, stay: Stay) -> tuple[int, int]:
    """The first and the last instant at which it may have ended."""
    if stay.until_ms == case.testimony.until_ms:
        return stay.until_ms, 1 << 62  # it goes on
    slack = 0 if stay.holds[-1].stamped else HEARD_MS
    soon = LOOKED_MS if _was_refused(stay) else slack
    return max(stay.until_ms - SECOND_MS - soon, stay.from_ms), stay.until_ms + slack


def _was_refused(stay: Stay) -> bool:
    """By the kubelet, which has given it nothing: it never ran."""
    return stay.holds[-1].given_ms is None and not stay.holds[-1].stamped


def _check_lines(match: Match) -> Iterator[Difference]:
    """Each line on the account of who owned the namespace then."""
    for line in match.lines:
        holds = [each for each in match.stay.holds if each.from_ms < line.until_ms and line.from_ms < each.until_ms]
        accounts = {each.account for each in holds}
        if accounts != {line.account}:
            owners = ", ".join(f"{each.account} from {clock(each.from_ms)}" for each in match.stay.holds)
            yield Difference(kind="account", subject=name(line.holder), witness=owners, product=line_text(line))
        yield from _check_facts(match, line, holds)


def _check_facts(match: Match, line: Line, holds: Sequence[Hold]) -> Iterator[Difference]:
    """What the line says of its holder, and of where that is; a guessed device has the right price alone."""
    facts = [
        ("resource", {each.resource for each in holds}, line.resource),
        ("team", {each.team for each in holds}, line.team),
        ("tier", {each.tier or "" for each in holds}, line.tier),
        ("cost center", {each.account if each.account != UNOWNED else "" for each in holds}, line.cost_center),
    ]
    if not match.guessed:
        facts += [
            ("card", {each.gpu for each in holds}, line.gpu),
            ("profile", {each.profile or "" for each in holds}, line.profile),
        ]
    for what, truly, said in facts:
        if truly != {said}:
            wanted = " or ".join(sorted(map(repr, truly)))
            product = f"{said!r}: {line_text(line)}"
            yield Difference(kind=what, subject=name(line.holder), witness=f"{what} {wanted}", product=product)
