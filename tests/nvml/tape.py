"""Records what a driver answers, and gives the recording's answers again: tape.c, built and driven.

Recording, any program:     env=recording(build(dir), driver=…, to=file)
Replaying, in this process: `with Tape(build(dir)) as tape: tape.answer(lines)`, then read through exporter/nvml
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

SOURCE = Path(__file__).with_name("tape.c")
SONAME = "libnvidia-ml.so.1"
COMPILE_TIMEOUT_S = 60
BEGINS_A_READING = "nvmlDeviceGetCount_v2"
BEFORE_A_READING = ("nvmlInitWithFlags", "nvmlEventSetWait_v2")


def build(directory: Path) -> Path:
    """Compile the library into `directory` and return its path."""
    library = directory / SONAME
    exports = directory / "exports.map"
    exports.write_text("{ global: nvml*; local: *; };\n")
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command += [f"-Wl,-soname,{SONAME}", f"-Wl,--version-script={exports}"]
    command += ["-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return library


def can_build() -> bool:
    return shutil.which("gcc") is not None


def recording(library: Path, *, driver: Path, to: Path) -> dict[str, str]:
    """What a program's environment needs so that its NVML calls are written down."""
    path = [str(library.parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"LD_LIBRARY_PATH": ":".join(path), "NVML_TAPE_DRIVER": str(driver), "NVML_TAPE_RECORD": str(to)}


def readings(lines: Iterable[str]) -> list[list[str]]:
    """A recording's lines, reading by reading; opening, and fetching events, belong to the reading that follows."""
    found: list[list[str]] = []
    before: list[str] = []
    for line in lines:
        name = line.split()[2]
        if name in BEFORE_A_READING:
            before.append(line)
        elif name == BEGINS_A_READING:
            found.append([*before, line])
            before = []
        elif found:
            found[-1].append(line)
    return found


def at_ms(line: str) -> int:
    """When a call was made, in unix ms."""
    return int(line.split()[0]) // 1000


class Tape:
    """The replaying library, in this process."""

    def __init__(self, library: Path, scratch: Path) -> None:
        """scratch: a file to hand answers over by."""
        self._library = ctypes.CDLL(str(library))
        self._library.nvml_tape_unanswered.restype = ctypes.c_char_p
        self._scratch = scratch

    def answer(self, lines: Iterable[str]) -> None:
        """Answer from now on as recorded here, each call once."""
        self._scratch.write_text("".join(f"{line}\n" for line in lines))
        assert self._library.nvml_tape_load(str(self._scratch).encode()) == 1, "not lines of a recording"

    @property
    def unanswered(self) -> list[str]:
        """What was asked since then and is not recorded."""
        return list(self._library.nvml_tape_unanswered().decode().splitlines())
