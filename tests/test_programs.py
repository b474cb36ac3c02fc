"""The ports that programs of tests are told to take, and how they are asked."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.programs import fetch, free_port


def test_a_port_is_nobody_elses_by_chance() -> None:
    """Linux gives none of these to a socket that asks for any, unless it is told to; none comes twice."""
    found = [free_port() for _ in range(100)]
    assert 20_000 <= min(found) <= max(found) < 32_768
    assert len(set(found)) == len(found)


def test_a_port_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, free = taken.getsockname()[1], free_port()
        monkeypatch.setattr("tests.programs._ports", iter((port, free)))
        assert free_port() == free


def test_who_is_killed_in_the_middle_of_his_answer_has_not_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def half() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

        killed = threading.Thread(target=half)
        killed.start()
        assert fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/metrics") == (0, b"")
        killed.join()
