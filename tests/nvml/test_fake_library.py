"""The fake driver's library is compiled once, and anew where it is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.nvml.fake_library import build


def test_a_library_whose_folder_is_gone_is_compiled_anew(tmp_path: Path) -> None:
    """A second stage of the proof stands in a folder of its own, and the first one's is gone."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    without = ("nvmlDeviceGetUUID",)  # as nobody else has it
    first = build(folders[0], without=without)
    assert build(folders[1], without=without) == first
    shutil.rmtree(folders[0])
    third = build(folders[2], without=without)
    assert third.parent.parent == folders[2]
    assert third.exists()
