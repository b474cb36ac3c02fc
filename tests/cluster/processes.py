"""The machine's processes by /proc: who descends from whom, and who listens where."""

from __future__ import annotations

import ipaddress
import os
from contextlib import suppress
from pathlib import Path

_LISTENING = "0A"
_GONE = (FileNotFoundError, ProcessLookupError)


def descendants(pid: int) -> set[int]:
    """All processes below a process, at this moment."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(*_GONE):
                stat = (entry / "stat").read_bytes()
                parent = int(stat[stat.rindex(b")") + 1 :].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def listening(pids: set[int]) -> set[str]:
    """The addresses at which these processes take TCP connections, one of theirs at least."""
    sockets: set[str] = set()
    for pid in pids:
        with suppress(*_GONE):
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(*_GONE):
                    sockets.add(os.readlink(file))
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == _LISTENING and f"socket:[{rest[5]}]" in sockets:
                found.add(_address(local.partition(":")[0]))
    return found


def _address(text: str) -> str:
    """As the kernel prints it: hex, each four bytes in the machine's order."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
