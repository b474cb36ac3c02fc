"""What the agent itself costs its node, as the kernel counts it."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path

_SELF = Path("/proc/self")  # our own, whatever --proc shows of the node
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def own_process() -> Mapping[str, float]:
    """By the names that every Prometheus client gives them (`process_cpu_seconds_total` …), in their base units.

    Empty where the kernel does not say: with no file left to open, a beat has worse to tell.
    """
    try:
        return _figures()
    except OSError:
        return {}


def _figures() -> dict[str, float]:
    # Behind the name, which may hold anything; numbers of fields are those of proc(5), less three.
    fields = (_SELF / "stat").read_bytes().rpartition(b")")[2].split()
    user, system, started, virtual, pages = (int(fields[number - 3]) for number in (14, 15, 22, 23, 24))
    most_fds, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "process_cpu_seconds_total": (user + system) / _TICKS_A_SECOND,
        "process_resident_memory_bytes": pages * _PAGE_BYTES,
        "process_virtual_memory_bytes": virtual,
        "process_start_time_seconds": _booted_s() + started / _TICKS_A_SECOND,
        "process_open_fds": len(os.listdir(_SELF / "fd")),
        "process_max_fds": float("inf") if most_fds == resource.RLIM_INFINITY else most_fds,
    }


def _booted_s() -> float:
    """Unix time at which the machine started."""
    line = next(line for line in Path("/proc/stat").read_bytes().splitlines() if line.startswith(b"btime "))
    return float(line.split()[1])
