"""A unary gRPC call over a unix socket: HTTP/2 is h2's; the framing of one message and the status are here.

gRPC over HTTP/2 (the protocol's own description): a message is one byte of flags, four of length, then itself; how
the call went stands in the trailers. grpcio would do as much in 15 MiB more, a quarter of what the agent may take.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

# By number, as the protocol has them.
CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_PREFIX = struct.Struct(">BI")  # compressed?, length
_READ_BYTES = 256 * 1024
_TIMEOUT_MAX_MS = 99_999_999  # eight digits is all that grpc-timeout has


class CallError(Exception):
    """The call failed. code: one of CODES; details: the server's words, or what happened to the connection."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code} ({details})")
        self.code = code
        self.details = details


class Connection:
    """One connection, for one call after another of one thread."""

    def __init__(self, stream: socket.socket, *, answer_max_bytes: int) -> None:
        self._stream = stream
        self._answer_max_bytes = answer_max_bytes
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        # Windows for the largest answer at once, so that nothing has to be granted in the middle of one.
        room = answer_max_bytes + _PREFIX.size
        wanted = {SettingCodes.INITIAL_WINDOW_SIZE: room, SettingCodes.ENABLE_PUSH: 0}
        self._http.local_settings = Settings(client=True, initial_values=wanted)
        self._http.initiate_connection()
        self._http.increment_flow_control_window(room)

    def call(self, method: str, request: bytes, *, timeout_s: float) -> bytes:
        """Send a message, return the other's. method: `/package.Service/Method`. Raises CallError."""
        deadline_s = time.monotonic() + timeout_s
        try:
            number = self._send(method, request, timeout_s, deadline_s)
            answer = _Answer(number, max_bytes=self._answer_max_bytes)
            while not answer.ended:
                for event in self._http.receive_data(self._receive(deadline_s)):
                    answer.take(event)
                    if isinstance(event, DataReceived) and event.flow_controlled_length:
                        self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self._flush(deadline_s)
            return answer.message()
        except TimeoutError:
            raise CallError("DEADLINE_EXCEEDED", f"no answer within {timeout_s:g} s") from None
        except ProtocolError as error:
            raise CallError("UNAVAILABLE", f"what answers does not speak HTTP/2: {error}") from error
        except OSError as error:
            raise CallError("UNAVAILABLE", str(error)) from error

    def _send(self, method: str, request: bytes, timeout_s: float, deadline_s: float) -> int:
        """The request's stream. Requests are small: they fit the first window of any server."""
        number = self._http.get_next_available_stream_id()
        timeout_ms = max(1, min(round(timeout_s * 1000), _TIMEOUT_MAX_MS))
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "gpu-exporter"),
            ("grpc-timeout", f"{timeout_ms}m"),
        ]
        self._http.send_headers(number, headers)
        self._http.send_data(number, _PREFIX.pack(0, len(request)) + request, end_stream=True)
        self._flush(deadline_s)
        return number

    def _flush(self, deadline_s: float) -> None:
        if data := self._http.data_to_send():
            self._stream.settimeout(_left_s(deadline_s))
            self._stream.sendall(data)

    def _receive(self, deadline_s: float) -> bytes:
        self._stream.settimeout(_left_s(deadline_s))
        data = self._stream.recv(_READ_BYTES)
        if not data:
            raise CallError("UNAVAILABLE", "the connection was closed before the answer")
        return data


@contextmanager
def connected(socket_path: Path, *, timeout_s: float, answer_max_bytes: int) -> Iterator[Connection]:
    """Connect, and let go in the end. Raises CallError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(timeout_s)
        try:
            stream.connect(str(socket_path))
        except OSError as error:
            raise CallError("UNAVAILABLE", str(error)) from error
        yield Connection(stream, answer_max_bytes=answer_max_bytes)


class _Answer:
    """What came so far on one stream."""

    def __init__(self, number: int, *, max_bytes: int) -> None:
        self.ended = False
        self._number = number
        self._max_bytes = max_bytes
        self._headers: dict[str, str] = {}
        self._data = bytearray()

    def take(self, event: Event) -> None:
        """Raises CallError for what ends the call early."""
        if isinstance(event, ConnectionTerminated):
            raise CallError("UNAVAILABLE", f"the server ends the connection (HTTP/2 error {event.error_code})")
        if getattr(event, "stream_id", None) != self._number:
            return  # settings, pings, and the rest of a call that was given up
        if isinstance(event, ResponseReceived | TrailersReceived):
            self._headers |= {str(name): str(value) for name, value in event.headers or ()}
        elif isinstance(event, DataReceived):
            self._data += event.data or b""
            self._check_length()
        elif isinstance(event, StreamReset):
            refused = event.error_code == ErrorCodes.REFUSED_STREAM
            raise CallError("UNAVAILABLE" if refused else "INTERNAL", f"the call was reset ({event.error_code})")
        elif isinstance(event, StreamEnded):
            self.ended = True

    def message(self) -> bytes:
        """The one message of an ended call. Raises CallError where the server says that it failed."""
        if self._headers.get(":status") != "200":
            raise CallError("UNKNOWN", f"HTTP status {self._headers.get(':status')}: what answers is no gRPC server")
        status = self._headers.get("grpc-status", "")
        if status != "0":
            known = status.isdecimal() and int(status) < len(CODES)
            words = unquote(self._headers.get("grpc-message", ""))
            raise CallError(CODES[int(status)] if known else "UNKNOWN", words or f"grpc-status {status!r}")
        if len(self._data) < _PREFIX.size:
            raise CallError("INTERNAL", "an answer without a message")
        compressed, length = _PREFIX.unpack_from(self._data)
        if compressed or length != len(self._data) - _PREFIX.size:
            raise CallError("INTERNAL", f"want one plain message of {length} bytes, saw {len(self._data)}")
        return bytes(memoryview(self._data)[_PREFIX.size :])

    def _check_length(self) -> None:
        if len(self._data) >= _PREFIX.size:
            _, length = _PREFIX.unpack_from(self._data)
            if length > self._max_bytes:
                raise CallError("RESOURCE_EXHAUSTED", f"an answer of {length} bytes, of {self._max_bytes} at most")


def _left_s(deadline_s: float) -> float:
    """Raises TimeoutError when nothing is left, for a timeout of 0 would mean: do not wait."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
