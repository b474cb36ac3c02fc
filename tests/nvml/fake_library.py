"""The fake driver's library: compiled from C, and put in the place of NVIDIA's."""

from __future__ import annotations

import ctypes
import importlib.metadata
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.nvml import state as layout

SOURCES = [Path(__file__).with_name(f"fake_nvml{part}.c") for part in ("", "_core", "_health", "_plugin", "_usage")]
SONAME = "libnvidia-ml.so.1"
COMPILE_TIMEOUT_S = 60

_built: dict[tuple[int, tuple[str, ...]], Path] = {}


def build(directory: Path, *, record_bytes: int = 24, without: Sequence[str] = ()) -> Path:
    """Compile the library once a set of options, anew where its folder is gone, and return its path.

    record_bytes  length of a process record
    without       functions it does not export, as an older driver
    """
    key = (record_bytes, tuple(sorted(without)))
    if key not in _built or not _built[key].exists():
        _built[key] = _compile(directory / f"nvml-{len(_built)}", record_bytes, key[1])
    return _built[key]


def _compile(directory: Path, record_bytes: int, without: Sequence[str]) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing: install the packages gcc and libc6-dev")
    directory.mkdir()
    library = directory / SONAME
    hidden = "".join(f" {name};" for name in without)
    exports = directory / "exports.map"
    exports.write_text(f"{{ global: nvml*; fake_nvml_*; local:{hidden} *; }};\n")
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations"]
    command += ["-shared", "-fPIC", "-pthread", f"-Wl,-soname,{SONAME}", f"-Wl,--version-script={exports}"]
    command += [f"-I{_header().parent}", f"-DPROCESS_RECORD_BYTES={record_bytes}", "-o", str(library)]
    command += map(str, SOURCES)
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return library


def _header() -> Path:
    """The wheel's nvml.h: NVIDIA's own, and not ours to copy."""
    try:
        files = importlib.metadata.files("nvidia-nvml-dev") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nvml.h is missing: install the development extra (nvidia-nvml-dev)")
    return next(Path(str(file.locate())) for file in files if file.name == "nvml.h")


def load(directory: Path) -> None:
    """Make this process's libnvidia-ml.so.1 the fake: whoever asks for that soname later gets it."""
    layout.check_sizes(ctypes.CDLL(str(build(directory))))
