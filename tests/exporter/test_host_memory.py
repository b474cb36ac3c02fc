"""The host's memory, as a kernel writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.host_memory import host_memory_bytes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MemTotal:       127600748 kB\nMemFree:         4711 kB\n", 127_600_748 * 1024),
        ("MemFree:         4711 kB\n", None),
        ("", None),
    ],
)
def test_it_is_all_that_the_kernel_has(tmp_path: Path, text: str, found: int | None) -> None:
    (tmp_path / "meminfo").write_text(text)
    assert host_memory_bytes(tmp_path / "meminfo") == found


def test_a_kernel_that_says_nothing_is_no_failure(tmp_path: Path) -> None:
    assert host_memory_bytes(tmp_path / "meminfo") is None
