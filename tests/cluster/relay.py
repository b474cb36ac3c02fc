"""A wire between the aggregator and the API server that tests can cut, or leave hanging as a dead peer does."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

CHUNK_BYTES = 65536
STEP_S = 0.2  # how soon a thread sees that the wire was cut


class Relay:
    """Passes bytes on from a port of its own on loopback. Starts mended."""

    def __init__(self, target: str) -> None:
        """target: the server's URL."""
        address = urlsplit(target)
        assert address.hostname is not None
        assert address.port is not None
        self._target = (address.hostname, address.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(STEP_S)
        self.url = f"{address.scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ended, self._cut = threading.Event(), threading.Event()
        self._dead: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Connections break, and new ones are broken at once."""
        self._cut.set()

    def hang(self) -> int:
        """Open connections stay, but nothing passes: the other machine has lost its power. New ones work.

        Returns how many.
        """
        self._dead |= self._open
        return len(self._open)

    def mend(self) -> None:
        self._cut.clear()

    def close(self) -> None:
        self._ended.set()
        self._cut.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                client.setblocking(True)
                pair = threading.Thread(target=self._connect, args=(client,))
                self._threads.append(pair)
                pair.start()

    def _connect(self, client: socket.socket) -> None:
        with client:
            if self._cut.is_set():
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                return  # the server is down: so is the wire to it
            self._open.add(client)
            with server:
                back = threading.Thread(target=self._pump, args=(client, server, client))
                back.start()
                self._pump(client, client, server)
                back.join()
            self._open.discard(client)

    def _pump(self, client: socket.socket, source: socket.socket, sink: socket.socket) -> None:
        """Until one side ends or the wire is cut; then the other side learns of it."""
        with contextlib.suppress(OSError):
            while not self._cut.is_set():
                if not select.select([source], [], [], STEP_S)[0]:
                    continue
                found = source.recv(CHUNK_BYTES)
                if not found:
                    break
                if client not in self._dead:
                    sink.sendall(found)
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    wire = Relay(target)
    try:
        yield wire
    finally:
        wire.close()
