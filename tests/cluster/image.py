"""A container image without a registry: Debian's static busybox as a docker-archive, made by a few lines."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
from pathlib import Path

import pytest

IMAGE = "localhost/busybox:test"
SANDBOX_IMAGE = "localhost/sandbox:test"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# The last two lead to a mounted /usr, for programs of the machine.
LINKS = {"bin/sh": "busybox", "bin/sleep": "busybox", "bin/cat": "busybox", "lib": "usr/lib", "lib64": "usr/lib64"}


def write_image(path: Path) -> None:
    """Write the archive, with both names on one image. Skips where busybox is not here."""
    busybox = shutil.which("busybox")
    program = Path(busybox).read_bytes() if busybox else b""
    if not program or b"/ld-linux" in program:  # a dynamic one finds no library in the image
        pytest.skip("no static busybox here: install the package busybox-static")
    layer = _tar({"bin/busybox": (program, 0o755), "tmp/.keep": (b"", 0o644)}, LINKS)
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        # The sandbox only has to last: the kubelet ends it.
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "1000000"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE, SANDBOX_IMAGE], "Layers": ["layer.tar"]}]
    documents = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    files = {name: (data, 0o644) for name, data in {"layer.tar": layer, **documents}.items()}
    path.write_bytes(_tar(files, {}))


def _tar(files: dict[str, tuple[bytes, int]], links: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()
