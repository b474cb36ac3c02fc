"""The stand-in for the MPS control daemon: well for a resource it works for, and for no other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.mps_control import begin, write_program


@pytest.mark.parametrize(
    ("resource", "asked", "answer", "code"),
    [
        ("nvidia.com/gpu", "get_default_active_thread_percentage", "100.0", 0),
        ("nvidia.com/gpu", "dance", "Unknown command: dance", 1),
        (
            "nvidia.com/gpu.shared",
            "get_default_active_thread_percentage",
            "Cannot find MPS control daemon process",
            1,
        ),
    ],
)
def test_what_the_plugin_hears(tmp_path: Path, resource: str, asked: str, answer: str, code: int) -> None:
    """It asks without a line's end, and with the daemon's folders as all of the environment."""
    root = tmp_path / "node"
    begin(root, "nvidia.com/gpu")
    begin(root, "nvidia.com/gpu")
    program = write_program(tmp_path, str(root))
    env = {"CUDA_MPS_PIPE_DIRECTORY": f"/mps/{resource}/pipe"}
    done = subprocess.run([program], input=asked, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == (answer, code)
