"""A stand-in for the driver's MPS control daemon, as far as NVIDIA's device plugin asks for it.

The real one works for each resource in a folder of the node, which the plugin's pod sees as /mps. The plugin asks it
by `nvidia-cuda-mps-control` whether it is well, and then mounts its folders into every container that gets a share.
"""

from __future__ import annotations

import os
from pathlib import Path

# It is run with the daemon's folders as all its environment. A daemon that works has its pipe there.
_PROGRAM = """#!/bin/sh
read -r asked
if ! [ -p "{root}${{CUDA_MPS_PIPE_DIRECTORY#/mps}}/control" ]; then
    echo "Cannot find MPS control daemon process"
    exit 1
fi
case $asked in
get_default_active_thread_percentage) echo 100.0 ;;
*) echo "Unknown command: $asked"; exit 1 ;;
esac
"""


def write_program(folder: Path, root: str) -> Path:
    """Put `nvidia-cuda-mps-control` into a folder of its own, for a PATH. root: the node's folder of MPS."""
    program = folder / "mps/nvidia-cuda-mps-control"
    program.parent.mkdir(exist_ok=True)
    program.write_text(_PROGRAM.format(root=root))
    program.chmod(0o755)
    return program


def begin(root: Path, resource: str) -> None:
    """A daemon works for a resource from now on."""
    for folder in (root / "shm", root / resource / "pipe", root / resource / "log"):
        folder.mkdir(parents=True, exist_ok=True)
    pipe = root / resource / "pipe/control"
    if not pipe.exists():
        os.mkfifo(pipe)
