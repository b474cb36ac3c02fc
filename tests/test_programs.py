"""The ports that programs of tests are told to take."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.programs import free_port


def test_a_port_is_nobody_elses_by_chance() -> None:
    """The kernel gives none of them to a socket that asks for any; none comes twice, nor one that somebody has."""
    first_by_chance = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = [free_port() for _ in range(100)]
    assert max(found) < first_by_chance
    assert len(set(found)) == len(found)


def test_a_port_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, free = taken.getsockname()[1], free_port()
        monkeypatch.setattr("tests.programs._ports", iter((port, free)))
        assert free_port() == free
