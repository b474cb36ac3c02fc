"""The host's memory by /proc: that of a card which has none of its own."""

from __future__ import annotations

import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")  # the host's in a container, too
_TOTAL = re.compile(r"^MemTotal: +([0-9]+) kB$", re.MULTILINE)


def host_memory_bytes(meminfo: Path = MEMINFO) -> int | None:
    """All that the kernel has; None where it does not say."""
    try:
        found = _TOTAL.search(meminfo.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
