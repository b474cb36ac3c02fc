"""A recording: what the doors of a real agent and a real aggregator heard, each with its time; and the same, shifted.

A gzipped file, a JSON object a line, told apart by `what`: a head, then beats and news of the API as they came, and
what was done to the cards; then what the real aggregator billed in the end. Times are unix ms of the one machine that
all of it ran on.

The driver's answers are kept as its door gives them, not byte for byte: samples of processes carry the clock of the
machine, which a shifted replay has not. All else is as it came: bytes of the kubelet, texts of /proc, API objects.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec

from exporter.reading import NodeReading
from tests.proof.witness import testimony
from tests.proof.witness.testimony import Told

FOLDER = Path(__file__).with_name("recordings")
NAMES = ("cards", "mig", "silicon")  # the last is of a real card: tests/gpu/record_node.py
SECOND_MS = 1000
# As Kubernetes writes its times, to the second, and some to the microsecond.
_TIME = re.compile(r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)((?:\.\d+)?Z)"')


class Head(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="head"):
    """What was recorded. programs: the versions that took part."""

    name: str
    about: str
    cluster: str
    node: str
    beat_ms: int
    prices: str
    programs: dict[str, str]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the kubelet: a message, or how the call failed."""

    message: bytes = b""
    code: str = ""
    details: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of /proc about one process; None: it was not asked for, or not there."""

    pid: int
    stat: str | None = None
    cgroup: str | None = None


class Beat(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="beat"):
    """All that one beat of the agent heard. cards: None where the driver failed, as `failure` says."""

    at_ms: int
    cards: NodeReading | None = None
    failure: str = ""
    kubelet: dict[str, Answer] = {}
    processes: tuple[Facts, ...] = ()


class News(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="news"):
    """What the API said of one kind. objects: as it wrote them; all of the kind where they were listed."""

    at_ms: int
    kind: str
    event: Literal["LISTED", "OPENED", "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ENDED"]
    version: str = ""
    objects: tuple[msgspec.Raw, ...] = ()


class Word(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="word"):
    """What was done to the cards, as the witness is told (`testimony.Told`). fields: without the time."""

    at_ms: int
    of: str
    fields: dict[str, Any]

    @classmethod
    def of_told(cls, told: Told) -> Word:
        fields = msgspec.to_builtins(told, enc_hook=_written)
        return cls(at_ms=fields.pop("at_ms"), of=type(told).__name__, fields=fields)

    @property
    def told(self) -> Told:
        found: Told = msgspec.convert(
            {"at_ms": self.at_ms, **self.fields}, type=getattr(testimony, self.of), dec_hook=_unwritten
        )
        return found


def _written(value: Any) -> str:
    assert isinstance(value, Fraction)
    return str(value)


def _unwritten(kind: type, value: Any) -> Any:
    assert kind is Fraction
    return Fraction(value)


class Billed(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="billed"):
    """What the real run ended with: each hour's last body, and the provisional export of every line."""

    at_ms: int
    bodies: tuple[msgspec.Raw, ...]
    export: str


Heard = Beat | News | Word
Entry = Head | Heard | Billed
_DECODER = msgspec.json.Decoder(Entry)


@dataclass(frozen=True)
class Recording:
    """A run as it was heard, oldest first."""

    head: Head
    heard: tuple[Heard, ...]
    billed: Billed

    @cached_property
    def beats(self) -> tuple[Beat, ...]:
        return tuple(each for each in self.heard if isinstance(each, Beat))

    @cached_property
    def told(self) -> tuple[Told, ...]:
        """What was done to the cards."""
        return tuple(each.told for each in self.heard if isinstance(each, Word))

    @property
    def began_ms(self) -> int:
        """The first beat."""
        return self.beats[0].at_ms

    @property
    def ended_ms(self) -> int:
        """The last beat: what it saw holds no longer."""
        return self.beats[-1].at_ms

    def shifted(self, by_ms: int) -> Recording:
        """The same run at another time. Raises ValueError where that is not a whole number of seconds.

        Kubernetes' times have whole seconds, and would not move with the rest.
        """
        if by_ms % SECOND_MS:
            raise ValueError(f"{by_ms} ms: want whole seconds, as the API's times have them")
        if not by_ms:
            return self
        return Recording(self.head, tuple(_shifted(each, by_ms) for each in self.heard), self.billed)

    def so_that(self, then_ms: int, falls_on_ms: int) -> Recording:
        """Shifted so that an instant of it falls on another one, to the second (never later)."""
        return self.shifted((falls_on_ms - then_ms) // SECOND_MS * SECOND_MS)

    def until(self, at_ms: int) -> Recording:
        """Its beginning: what was heard before an instant."""
        return replace(self, heard=tuple(each for each in self.heard if each.at_ms < at_ms))


def _shifted(entry: Heard, by_ms: int) -> Heard:
    moved = msgspec.structs.replace(entry, at_ms=entry.at_ms + by_ms)
    if isinstance(moved, News):
        return msgspec.structs.replace(moved, objects=tuple(_object_shifted(each, by_ms) for each in moved.objects))
    return moved


def _object_shifted(found: msgspec.Raw, by_ms: int) -> msgspec.Raw:
    """Every time in it, whatever it is the time of."""
    by = timedelta(milliseconds=by_ms)

    def move(time: re.Match[str]) -> str:
        moved = datetime.fromisoformat(time[1]).replace(tzinfo=UTC) + by
        return f'"{moved:%Y-%m-%dT%H:%M:%S}{time[2]}"'

    return msgspec.Raw(_TIME.sub(move, bytes(found).decode()).encode())


def load(name: str) -> Recording:
    """A recording that is checked in."""
    return read((FOLDER / f"{name}.jsonl.gz").read_bytes())


def read(data: bytes) -> Recording:
    entries = read_lines(gzip.decompress(data))
    head, *heard, billed = entries
    assert isinstance(head, Head), "a recording begins with its head"
    assert isinstance(billed, Billed), "a recording ends with what was billed"
    return Recording(head, tuple(each for each in heard if isinstance(each, Heard)), billed)


def read_lines(data: bytes) -> list[Entry]:
    """Lines as a recorder writes them; one that was cut off by a kill is left out."""
    whole = data[: data.rfind(b"\n") + 1]
    # Copied: what is left raw would otherwise keep the whole file.
    return [_DECODER.decode(line) for line in whole.splitlines()]


def write(recording: Recording) -> bytes:
    """The file. The same bytes for the same recording."""
    lines = [
        msgspec.json.encode(each, order="deterministic")
        for each in (recording.head, *recording.heard, recording.billed)
    ]
    return gzip.compress(b"\n".join([*lines, b""]), mtime=0)


def merged(head: Head, heard: Iterable[Entry], billed: Billed) -> Recording:
    """One recording of what several recorders wrote."""
    both = [each for each in heard if isinstance(each, Heard)]
    return Recording(head, tuple(sorted(both, key=lambda each: each.at_ms)), billed)


def object_of(found: msgspec.Raw) -> dict[str, Any]:
    """An object of the API, as a dictionary."""
    made: dict[str, Any] = msgspec.json.decode(found)
    return made
