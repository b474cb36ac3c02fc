"""The arithmetic of a line, written out: every exact number before it is rounded down, and what it is rounded to.

It is worked out anew from what the line says, not copied from its amount: where the two differ, the line is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core import lines as ledger
from chargeback.core.lines import Line
from chargeback.core.money import MS_PER_HOUR, format_micros, whole_micros
from chargeback.core.rating.base_lines import shares_of
from chargeback.core.rating.basis import USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """How one amount of a line comes about. exact: the rational numbers of micros that are rounded down in it.

    of  `list` or `amount`
    """

    of: str
    text: str
    exact: tuple[Fraction, ...]
    micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a line's arithmetic asks beside the line.

    basis     of the policy that holds
    beside    the lines of the node in that hour, and those of the cluster's plans, as the line stands among them
    since_ms  when the rating interval began: a guaranteed unit's price runs from there
    hourly    of a unit, without its part of a device: micros of an hour of the price's unit; None: no price
    """

    basis: str
    beside: Sequence[Line] = ()
    since_ms: int = 0
    hourly: Fraction | None = None


def workings(line: Line, around: Around) -> list[Working]:
    """How list amount and amount of a charge come about; nothing of what has no price."""
    if line.amount_micros is None or line.list_micros is None:
        return []
    if line.kind in ledger.HOLDERS:
        return [_holders_list(line, around), *_holders_amount(line, around)]
    if line.kind == ledger.DISCOUNT_KIND:
        return list(_discount(line, around))
    if line.kind == ledger.UNUSED:
        return list(_unused(line, around))
    if line.kind in (ledger.BACKED, ledger.UNBACKED):
        return list(_against(line, around))
    if line.parent:
        return list(_platform(line, around))
    return []


def _telescope(
    of: str, hourly: Fraction, before: int, length: int, den: int, shares: int = 1, each: str = "shares"
) -> Working:
    """shares × (⌊E(b)⌋ − ⌊E(a)⌋). before, length: over den, ms of one share."""
    exact = tuple(hourly * ms / (den * MS_PER_HOUR) for ms in (before, before + length))
    began, ended = map(whole_micros, exact)
    parts = f"⌊{_show(exact[1])}⌋ − ⌊{_show(exact[0])}⌋ = {ended} − {began} micros"
    text = f"E(b) − E(a) = {parts}" if shares == 1 else f"{shares} {each} × (E(b) − E(a)) = {shares} × ({parts})"
    return Working(of=of, text=text, exact=exact, micros=shares * (ended - began))


def _is_by_use(line: Line, around: Around) -> bool:
    return around.basis == USAGE and line.kind in (ledger.HELD, ledger.BURST) and line.used_num is not None


def _holders_list(line: Line, around: Around) -> Working:
    assert line.list_hourly is not None
    shares = len(shares_of(line))
    if line.kind == ledger.IDLE_HELD:
        busy = _busy_part(line, around)
        gpu = line.gpu_ms_num + (0 if busy is None else _over(busy.gpu_ms_num, busy.ms_den, line.ms_den))
        whole = _telescope("list", line.list_hourly, line.gpu_before_num, gpu // shares, line.ms_den, shares)
        used = 0 if busy is None else busy.list_micros or 0
        return Working(
            of="list",
            text=f"what is held, {whole.text} = {whole.micros}, less what of it is busy: {used}",
            exact=whole.exact,
            micros=whole.micros - used,
        )
    if _is_by_use(line, around):
        assert line.used_num is not None
        return _telescope(
            "list", line.list_hourly, line.used_before_num, line.used_num // shares, line.ms_den, shares
        )
    return _telescope("list", line.list_hourly, line.gpu_before_num, line.gpu_ms_num // shares, line.ms_den, shares)


def _holders_amount(line: Line, around: Around) -> Iterator[Working]:
    shares = len(shares_of(line))
    if line.kind in ledger.WAIVED:
        yield _plain("amount", f"0: {line.kind} time is not charged", 0)
    elif line.kind == ledger.IDLE_HELD:
        yield _plain("amount", "0: by usage, what is held and not busy is not charged", 0)
    elif line.kind == ledger.RESERVED:
        yield from _reserved(line, around, shares)
    elif line.hourly is None:
        return
    elif _is_by_use(line, around):
        assert line.used_num is not None
        used, before, den = line.used_num // shares, line.used_before_num, line.ms_den
        if line.quantity_ms_num != line.gpu_ms_num:
            # Busy time is of the card, the price is of another unit.
            unit, card = line.quantity_ms_num, line.gpu_ms_num
            used, before, den = used * unit, before * unit, den * card
        yield _telescope("amount", line.hourly, before, used, den, shares)
    else:
        before, length = line.quantity_before_num, line.quantity_ms_num // shares
        yield _telescope("amount", line.hourly, before, length, line.ms_den, shares)


def _reserved(line: Line, around: Around, shares: int) -> Iterator[Working]:
    """By the unit that it fills, from the interval's start on."""
    if around.hourly is None:
        return
    length = line.end_ms - line.start_ms
    quantity = Fraction(line.quantity_ms_num, line.ms_den * shares * length)
    began = line.start_ms - around.since_ms
    yield _telescope("amount", around.hourly * quantity, began, length, 1, shares)


def _unused(line: Line, around: Around) -> Iterator[Working]:
    yield _plain("list", "0: no card's time", 0)
    if line.hourly is None or around.hourly is None:
        return
    length, began = line.end_ms - line.start_ms, line.start_ms - around.since_ms
    of_unit = line.hourly / around.hourly  # time of the price's unit in a unit's time
    count = Fraction(line.quantity_ms_num, line.ms_den) / (length * of_unit)
    if count.denominator == 1:
        yield _telescope("amount", line.hourly, began, length, 1, int(count), "units")


def _discount(line: Line, around: Around) -> Iterator[Working]:
    piece = piece_of(line, around.beside)
    if piece is None or piece.list_micros is None or piece.amount_micros is None:
        return
    yield _plain("list", "0: no card's time", 0)
    less = piece.list_micros - piece.amount_micros
    sides = f"{format_micros(piece.list_micros)} − {format_micros(piece.amount_micros)}"
    text = f"list amount − amount of what it belongs to = {sides}"
    yield _plain("amount", text, less)


def _against(line: Line, around: Around) -> Iterator[Working]:
    unused = unused_of(line, around.beside)
    if unused is None or unused.amount_micros is None:
        return
    yield _plain("list", "0: no card's time", 0)
    kinds = {ledger.BACKED, ledger.UNBACKED} - {line.kind}
    other = next((each for each in siblings_of(line, around.beside) if each.kind in kinds), None)
    rest = 0 if other is None else -(other.amount_micros or 0)
    what, others = ("idle cards back", "none backs")
    if line.kind == ledger.UNBACKED:
        what, others = "no idle card backs", "idle cards back"
    less = f", less {rest} that {others}" if rest else ""
    yield _plain(
        "amount",
        f"what {what} of the unused guarantee of {unused.amount_micros}{less}, against it",
        rest - unused.amount_micros,
    )


def _platform(line: Line, around: Around) -> Iterator[Working]:
    """What holders leave of the card's total, by largest remainder."""
    if line.list_hourly is None:
        return
    mine = [each for each in around.beside if each.parent == line.parent and each.day == line.day and each.node]
    existed = sum((Fraction(each.gpu_ms_num, each.ms_den) for each in mine), Fraction(0))
    exact = line.list_hourly * existed / MS_PER_HOUR
    total = whole_micros(exact)
    holders = sum(each.list_micros or 0 for each in mine if each.kind in ledger.HOLDERS)
    runs = [each for each in mine if each.kind in PLATFORM]
    left = total - holders
    text = f"the card's total ⌊{_show(exact)}⌋ = {total}, less {holders} of its holders, leaves {left}"
    if line.kind == ledger.ROUNDING:
        found = Working(of="list", text=text, exact=(exact,), micros=left)
    elif line.line_id not in {each.line_id for each in runs}:
        return
    else:
        own = line.list_hourly * Fraction(line.gpu_ms_num, line.ms_den) / MS_PER_HOUR
        parts = [line.list_hourly * Fraction(each.gpu_ms_num, each.ms_den) / MS_PER_HOUR for each in runs]
        micros = _largest_remainder(left, own, parts, line.list_micros or 0)
        share = f"; of {len(runs)} lines by largest remainder, here {_show(own)} → {micros}" if len(runs) > 1 else ""
        found = Working(of="list", text=text + share, exact=(exact, own), micros=micros)
    yield found
    yield Working(of="amount", text="as the list amount", exact=(), micros=found.micros)


def _largest_remainder(left: int, own: Fraction, parts: Sequence[Fraction], said: int) -> int:
    """One part of what is left, as `money.settle` shares it out. said: what the line says, where remainders tie."""
    every, some = divmod(left - sum(map(whole_micros, parts)), len(parts))
    remainders = [part - whole_micros(part) for part in parts]
    mine = own - whole_micros(own)
    least = whole_micros(own) + every
    before = sum(each > mine for each in remainders)
    if before >= some:
        return least
    if before + remainders.count(mine) <= some:
        return least + 1
    return min(max(said, least), least + 1)


PLATFORM = frozenset(
    {ledger.FREE, ledger.UNSOLD, ledger.UNPARTITIONED, ledger.GAP_KIND, ledger.UNHEALTHY, ledger.CORDONED,
     ledger.EXCESS}
)  # fmt: skip


def piece_of(discount: Line, lines: Iterable[Line]) -> Line | None:
    """The line that a discount belongs to."""
    return next((each for each in lines if _slot(each) == _slot(discount) and each.kind == discount.of_kind), None)


def _busy_part(rest: Line, around: Around) -> Line | None:
    kinds = (ledger.HELD, ledger.BURST)
    return next((each for each in around.beside if each.kind in kinds and _slot(each) == _slot(rest)), None)


def unused_of(line: Line, lines: Iterable[Line]) -> Line | None:
    """What a `backed` or `unbacked` line stands against."""
    return next((each for each in siblings_of(line, lines) if each.kind == ledger.UNUSED), None)


def siblings_of(line: Line, lines: Iterable[Line]) -> list[Line]:
    """Lines of the same guarantee at the same time."""
    return [each for each in lines if _slot(each) == _slot(line) and each.line_id != line.line_id]


def _slot(line: Line) -> tuple[object, ...]:
    return (
        line.cluster, line.node, line.hour, line.device, line.shares, line.namespace, line.pod, line.container,
        line.claim, line.start_ms,
    )  # fmt: skip


def _over(num: int, den: int, wanted: int) -> int:
    return num * wanted // den


def _plain(of: str, text: str, micros: int) -> Working:
    return Working(of=of, text=text, exact=(), micros=micros)


def _signed(micros: int) -> str:
    return f"({micros})" if micros < 0 else str(micros)


def _show(exact: Fraction) -> str:
    """`1428571 3/7`: a whole number and what is beyond it."""
    whole, rest = divmod(exact.numerator, exact.denominator)
    return str(whole) if rest == 0 else f"{whole} {rest}/{exact.denominator}"
