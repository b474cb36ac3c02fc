"""Calls over a unix socket to servers that misbehave. Those that behave are grpcio's, in test_kubelet.py."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

from exporter.unary_call import CallError, Connection, connected

Serve = Callable[[socket.socket], None]
MAX_BYTES = 1000
FINE = [(":status", "200"), ("content-type", "application/grpc")]
DONE = [("grpc-status", "0")]
TOO_FAST = [("grpc-status", "8"), ("grpc-message", "too%20fast%21")]


@contextmanager
def connection_to(serve: Serve, folder: Path, *, timeout_s: float = 5.0) -> Iterator[Connection]:
    """A connection to a server that takes one and serves it in a thread."""
    path = folder / "s.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()

        def run() -> None:
            stream, _ = listening.accept()
            with stream:
                serve(stream)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        with connected(path, timeout_s=timeout_s, answer_max_bytes=MAX_BYTES) as connection:
            yield connection
        thread.join(10)


def answering(answer: Callable[[H2Connection, int], None], *, calls: int = 1) -> Serve:
    """A server of HTTP/2 that waits for each request and answers it."""

    def serve(stream: socket.socket) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        stream.sendall(http.data_to_send())
        left = calls
        while left and (data := stream.recv(65536)):
            for event in http.receive_data(data):
                if isinstance(event, StreamEnded):
                    answer(http, event.stream_id)
                    left -= 1
            stream.sendall(http.data_to_send())
        stream.recv(65536)  # until the other side has read and closed

    return serve


def with_message(data: bytes, trailers: list[tuple[str, str]] = DONE) -> Callable[[H2Connection, int], None]:
    def answer(http: H2Connection, number: int) -> None:
        http.send_headers(number, FINE)
        http.send_data(number, data)
        http.send_headers(number, trailers, end_stream=True)

    return answer


def only_headers(headers: list[tuple[str, str]]) -> Callable[[H2Connection, int], None]:
    return lambda http, number: http.send_headers(number, headers, end_stream=True)


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def test_one_connection_serves_many_calls(tmp_path: Path) -> None:
    with connection_to(answering(with_message(framed(b"hello")), calls=3), tmp_path) as connection:
        assert [connection.call("/a.B/C", b"", timeout_s=5.0) for _ in range(3)] == [b"hello"] * 3


def test_an_empty_message_is_one(tmp_path: Path) -> None:
    with connection_to(answering(with_message(framed(b""))), tmp_path) as connection:
        assert connection.call("/a.B/C", b"", timeout_s=5.0) == b""


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (only_headers([*FINE, *TOO_FAST]), "RESOURCE_EXHAUSTED", "too fast!"),
        (only_headers([*FINE, ("grpc-status", "99")]), "UNKNOWN", "99"),
        (only_headers([*FINE]), "UNKNOWN", "grpc-status ''"),
        (only_headers([(":status", "404")]), "UNKNOWN", "HTTP status 404"),
        (only_headers([*FINE, *DONE]), "INTERNAL", "without a message"),
        (with_message(framed(b"a")[:-1]), "INTERNAL", "want one plain message of 1 bytes"),
        (with_message(framed(b"a") + framed(b"b")), "INTERNAL", "want one plain message"),
        (with_message(b"\1" + framed(b"a")[1:]), "INTERNAL", "want one plain message"),
        (with_message(framed(b"a"), [("grpc-status", "13")]), "INTERNAL", "grpc-status '13'"),
        (with_message(framed(b"x" * (MAX_BYTES + 1))[:100]), "RESOURCE_EXHAUSTED", f"{MAX_BYTES} at most"),
        (lambda http, number: http.reset_stream(number, 7), "UNAVAILABLE", "reset"),
        (lambda http, number: http.reset_stream(number, 2), "INTERNAL", "reset"),
        (lambda http, number: http.close_connection(), "UNAVAILABLE", "ends the connection"),
    ],
)  # fmt: skip
def test_a_failed_call_says_how_it_failed(
    tmp_path: Path, answer: Callable[[H2Connection, int], None], code: str, words: str
) -> None:
    """The server's own code and words where it has any; no half answer passes for one."""
    with connection_to(answering(answer), tmp_path) as connection, pytest.raises(CallError) as caught:
        connection.call("/a.B/C", b"", timeout_s=5.0)
    assert caught.value.code == code
    assert words in caught.value.details


@pytest.mark.parametrize(
    ("serve", "code", "timeout_s"),
    [
        (lambda stream: stream.recv(1), "UNAVAILABLE", 60),
        (lambda stream: (stream.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 3), stream.recv(65536)), "UNAVAILABLE", 60),
        (lambda stream: [stream.recv(65536) for _ in range(2)], "DEADLINE_EXCEEDED", 0.5),
    ],
    ids=["hangs up", "speaks something else", "is silent"],
)
def test_what_is_no_server_does_not_hold_us(tmp_path: Path, serve: Serve, code: str, timeout_s: float) -> None:
    with connection_to(serve, tmp_path) as connection, pytest.raises(CallError) as caught:
        connection.call("/a.B/C", b"", timeout_s=timeout_s)
    assert caught.value.code == code


def test_an_answer_in_drops_meets_the_deadline(tmp_path: Path) -> None:
    """Each byte comes in time; the whole does not."""

    def serve(stream: socket.socket) -> None:
        http = H2Connection(H2Configuration(client_side=False))
        http.initiate_connection()
        try:
            while True:
                http.ping(b"12345678")
                stream.sendall(http.data_to_send())
                threading.Event().wait(0.05)
        except OSError:
            return

    with connection_to(serve, tmp_path) as connection, pytest.raises(CallError) as caught:
        connection.call("/a.B/C", b"", timeout_s=0.5)
    assert caught.value.code == "DEADLINE_EXCEEDED"
