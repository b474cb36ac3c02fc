"""The driver's tables of processes, decoded: bytes and numbers in, values out. The calls are in nvml.py."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass

SENTINEL = 0xA5  # what a buffer is filled with before the driver writes: what still has it was not written
RECORD_ROOM_BYTES = 64  # for each record, so that a driver with longer ones stays inside our buffer
# Drivers 535.43 to 535.86 wrote 32 bytes (protected memory at the end), all others write 24. The start is the same.
RECORD_BYTES_KNOWN = (24, 32)
CLOCK_SLACK_US = 1_000_000  # the driver stamps its samples by itself: so far ahead of us they may be
PID_MAX = 4_194_304  # Linux has none above

_RECORD = struct.Struct("=I4xQII")  # pid, memory in use, GPU instance, compute instance
_NO_ID = 0xFFFFFFFF
_NO_MEMORY = 0xFFFFFFFFFFFFFFFF


class UnknownRecord(Exception):
    """The driver's process records have a form that we do not know: read on, and we would bill the wrong pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process of the driver's list. instance: GPU and compute instance ids, None where the driver gives none."""

    pid: int
    memory_used_bytes: int | None
    instance: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SmSample:
    """How busy a process kept the SMs up to an instant, as the driver says it.

    The driver looks at the card every 0.2 s, keeps the last 72 looks (14.4 s), credits each to one process. Asked, it
    sums up what each has and divides by the number of looks in the window that belong to a living process.
    Seen on an H100 with driver 580.159: tests/exporter/data/real_h100.json.
    """

    pid: int
    timestamp_us: int
    sm_percent: int


def decode_records(buffer: bytes, *, count: int, capacity: int) -> tuple[ProcessRecord, ...]:
    """Decode `count` records of a buffer that had room for `capacity` and was full of SENTINEL before.

    How far the driver wrote tells how long its records are (it may clear the rest of its room first). No record
    ends in a SENTINEL: its last bytes are an instance id or a size, and none is that large.
    """
    if count == 0:
        return ()
    written = len(buffer.rstrip(bytes([SENTINEL])))
    lengths = [length for length in RECORD_BYTES_KNOWN if written in (count * length, capacity * length)]
    if len(lengths) != 1:
        raise UnknownRecord(f"{written} bytes for {count} process records: known lengths are {RECORD_BYTES_KNOWN}")
    records = tuple(_decode(buffer, position * lengths[0]) for position in range(count))
    wrong = next((record.pid for record in records if not 0 < record.pid <= PID_MAX), None)
    if wrong is not None:
        raise UnknownRecord(f"a process record with the pid {wrong}: want 1 to {PID_MAX}")
    return records


def _decode(buffer: bytes, offset: int) -> ProcessRecord:
    pid, memory, gpu_instance, compute_instance = _RECORD.unpack_from(buffer, offset)
    return ProcessRecord(
        pid=pid,
        memory_used_bytes=None if memory == _NO_MEMORY else memory,
        instance=None if _NO_ID in (gpu_instance, compute_instance) else (gpu_instance, compute_instance),
    )


def sm_ratios(
    samples: Iterable[SmSample], pids: Collection[int], *, since_us: int, now_us: int
) -> tuple[dict[int, float | None], int]:
    """Share of the SMs' time of each pid since `since_us`, and the instant up to which all is now known.

    A pid without a sample was credited with nothing: idle, or outdone by others at every look. Dropped are samples
    from before the window (told already); a listed pid whose sample cannot be true (above 100, or from the future:
    seen beside zombies) is None. So are all where a pid is credited that is not listed: whoever it is (one that only
    draws, or is of another pid namespace), the sum over those listed is not the card's.
    """
    ratios: dict[int, float | None] = dict.fromkeys(pids, 0.0)
    until_us = since_us
    hidden = False
    for sample in sorted(samples, key=lambda each: each.timestamp_us):
        if sample.timestamp_us <= since_us:
            continue
        believable = sample.timestamp_us <= now_us + CLOCK_SLACK_US
        if believable:
            until_us = sample.timestamp_us
        if sample.pid in ratios:
            ratios[sample.pid] = sample.sm_percent / 100 if believable and sample.sm_percent <= 100 else None
        elif believable and 0 < sample.sm_percent <= 100:
            hidden = True
    return dict.fromkeys(pids) if hidden else ratios, until_us
