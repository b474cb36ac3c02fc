"""Laws of exports that need no witness: a shifted run is the same but for its cuts, and corrections net out."""

from __future__ import annotations

import csv
import io
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from tests.proof.comparison.case import line_text
from tests.proof.comparison.export import Line

SUMS = frozenset({"credit", "debit"})
CHARGE, REVERSAL, RESTATED = "charge", "reversal", "restated"
# What a line says that is not a name of a version or a month: it must come out the same whenever it is played.
SAME = (
    "from", "until", "cost_center_id", "kind", "of_kind", "cluster", "node", "gpu", "device", "shares", "model",
    "profile", "resource", "namespace", "pod", "container", "cost_center", "team", "tier", "evidence", "sku", "unit",
    "unit_price", "gpu_ms_num", "quantity_ms_num", "ms_den", "busy_ms", "memory_byte_seconds", "energy_mj",
    "list_amount", "amount", "allocation_amount", "usage_amount",
)  # fmt: skip
NEGATED = ("gpu_ms_num", "quantity_ms_num", "busy_ms", "memory_byte_seconds", "energy_mj", "list_amount", "amount")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def unlike(wanted: str, text: str) -> Iterator[str]:
    """Where two exports of the same time differ, line by line."""
    nothing: dict[str, str] = {}
    for number, (a, b) in enumerate(itertools.zip_longest(rows(wanted), rows(text), fillvalue=nothing), 1):
        differing = [name for name in SAME if a.get(name) != b.get(name)]
        if differing:
            said = ", ".join(f"{name} {a.get(name)!r} became {b.get(name)!r}" for name in differing)
            yield f"by the bill of the real run: line {number}: {said}"


def uncut(lines: Iterable[Line]) -> list[tuple[Line, int]]:
    """Lines of the same thing that follow each other without a gap, joined; and of how many pieces each is."""

    def key(line: Line) -> tuple[str, ...]:
        named = (line.gpu, line.device, line.account, line.kind, *line.holder, line.evidence)
        return (*named, ",".join(map(str, line.shares)))

    joined: list[tuple[Line, int]] = []
    timed = [line for line in lines if line.has_time and line.card_ms]
    for line in sorted(timed, key=lambda each: (key(each), each.from_ms)):
        if joined and key(joined[-1][0]) == key(line) and joined[-1][0].until_ms == line.from_ms:
            last, pieces = joined.pop()
            joined.append((_sum(last, line), pieces + 1))
        else:
            joined.append((line, 1))
    return joined


def _sum(a: Line, b: Line) -> Line:
    return replace(
        a,
        until_ms=b.until_ms,
        card_ms=a.card_ms + b.card_ms,
        busy_ms=_plus(a.busy_ms, b.busy_ms),
        energy_mj=_plus(a.energy_mj, b.energy_mj),
        list_micros=_plus(a.list_micros, b.list_micros),
        amount_micros=_plus(a.amount_micros, b.amount_micros),
    )


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def changed_by_shift(wanted: Sequence[Line], shifted: Sequence[Line], by_ms: int) -> Iterator[str]:
    """Where a shifted run is another but for its cuts: time is equal, and money within a micro a piece.

    What was used is prorated where it is cut, and so another on either side: that is the witness's to judge.
    """
    moved = [replace(line, from_ms=line.from_ms - by_ms, until_ms=line.until_ms - by_ms) for line in shifted]
    for pair in itertools.zip_longest(uncut(wanted), uncut(moved)):
        if None in pair:
            yield f"only once: {', '.join(line_text(each[0]) for each in pair if each)}"
            return
        (a, whole), (b, cut) = pair
        if (a.from_ms, a.until_ms, a.account, a.kind, a.holder, a.card_ms) != (
            b.from_ms, b.until_ms, b.account, b.kind, b.holder, b.card_ms,
        ):  # fmt: skip
            yield f"{line_text(a)} became {line_text(b)}"
        for name in ("list_micros", "amount_micros"):
            before, after = getattr(a, name), getattr(b, name)
            if (before is None) != (after is None) or abs((before or 0) - (after or 0)) > whole + cut - 1:
                yield f"{name} {before} became {after}: {line_text(b)}"


def misdated(text: str, timezone: str) -> Iterator[str]:
    """Charges that are not posted where their time is: they are cut at whole hours and local midnights."""
    zone = ZoneInfo(timezone)
    for row in rows(text):
        if row["part"] != CHARGE:
            continue
        begin, end = (datetime.fromisoformat(row[name]) for name in ("from", "until"))
        last = max(begin, end - timedelta(milliseconds=1))
        for at in (begin, last):
            hour, day = f"{at.astimezone(UTC):%Y-%m-%dT%HZ}", f"{at.astimezone(zone):%Y-%m-%d}"
            if (row["hour"], row["day"], row["month"]) != (hour, day, day[:7]):
                posted = f"{row['hour']}, {row['day']}, {row['month']}"
                yield f"{row['from']} to {row['until']} is of {hour} and {day}, and posted in {posted}"
                break


def unlike_statement(statement: str, detail: str) -> Iterator[str]:
    """Accounts whose sums in a month's statement are not those of the month's lines: the parts are the whole."""
    for name in ("list_amount", "amount"):
        stated, billed = (_sums(text, name) for text in (statement, detail))
        for account in stated.keys() | billed.keys():
            if stated[account] != billed[account]:
                yield f"{account}: {name} is {stated[account]} in the statement, and {billed[account]} in its lines"


def unbalanced(month: str, text: str) -> Iterator[str]:
    """Where a month's amounts are not together what its cards list, whatever was moved, corrected or given back."""
    sums = {name: sum(_sums(text, name).values()) for name in ("list_amount", "amount")}
    if sums["list_amount"] != sums["amount"]:
        yield f"{month}: {sums['amount']} is charged in all, and {sums['list_amount']} listed"


def misgiven(given: Sequence[dict[str, str]], account: str, micros: int, corrects: str) -> Iterator[str]:
    """Where what was given back by hand is not just that: to the account, and against it on the discount.

    given: the rows of an open month; corrects: the closed month that it is about, if it is about one
    """
    sum_ = Decimal(micros).scaleb(-6)
    wanted = {("credit", account, -sum_, corrects), ("debit", "platform:discount", sum_, corrects)}
    found = [
        (row["kind"], row["cost_center_id"], Decimal(row["amount"]), row["corrects_period"])
        for row in given
        if not Decimal(row["list_amount"])
    ]
    if set(found) != wanted or len(given) != len(wanted):
        yield f"given back: want {sorted(wanted)}, saw {sorted(found)} on {len(given)} lines"


def without_sums(text: str) -> tuple[str, list[dict[str, str]]]:
    """An export without what people gave back or asked for by hand, and those rows."""
    found = rows(text)
    return _written([row for row in found if row["kind"] not in SUMS]), [row for row in found if row["kind"] in SUMS]


def _written(found: Sequence[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, found[0].keys(), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(found)
    return buffer.getvalue()


def _sums(text: str, name: str) -> defaultdict[str, Decimal]:
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows(text):
        found[row["cost_center_id"]] += Decimal(row[name] or 0)
    return found


@dataclass(frozen=True, slots=True)
class Netted:
    """A ledger without what was taken back. text: as an export; wrong: corrections that do not fit."""

    text: str
    wrong: tuple[str, ...]
    reversals: int
    restated: int


def netted(*texts: str) -> Netted:
    """What is left when every reversal has met the line that it reverses: as if it had been billed so at once."""
    found = [row for text in texts for row in rows(text)]
    by_id = {row["line_id"]: row for row in found}
    wrong: list[str] = []
    gone: set[str] = set()
    for row in found:
        if row["part"] != REVERSAL:
            continue
        reversed_one = by_id.get(row["corrects"])
        gone |= {row["line_id"], row["corrects"]}
        if reversed_one is None:
            wrong.append(f"{row['line_id']} reverses {row['corrects']!r}, which is nowhere")
            continue
        wrong += [
            f"{row['line_id']} reverses {name} {reversed_one[name]!r} by {row[name]!r}"
            for name in NEGATED
            if _number(row[name]) != -_number(reversed_one[name])
        ]
    left = [row | {"part": CHARGE} for row in found if row["line_id"] not in gone]
    count = {part: sum(row["part"] == part for row in found) for part in (REVERSAL, RESTATED)}
    return Netted(_written(left), tuple(wrong), count[REVERSAL], count[RESTATED])


def _number(text: str) -> Fraction:
    return Fraction(text or 0)
