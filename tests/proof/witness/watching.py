"""What a witness sees with its own eyes: the API server's watch of a kind, and the kubelet's note of what it gave.

Plain HTTP and files: no client of Kubernetes, and nothing of the programs whose bill is doubted.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
WATCH_S, SILENT_S = 60, 90.0  # the server ends a watch after the one; a connection silent for the other is dead
AGAIN_S = 0.1
LOOK_S = 0.1  # a container that runs for a second is in the kubelet's note for as long
ENDED = (OSError, http.client.HTTPException, ValueError)

Object = Mapping[str, Any]
# What happened to an object, and when it was heard, in unix ms.
See = Callable[[str, Object, int], None]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Watch:
    """Lists a kind and watches it, and does so again when the server was away. What went meanwhile is DELETED."""

    def __init__(self, api_url: str, token: str, path: str, see: See) -> None:
        """path: of the kind, such as /api/v1/pods. see: called by one thread, in order."""
        address = urlsplit(api_url)
        self._host, self._port = address.hostname or "", address.port
        self._headers = {"Authorization": f"Bearer {token}"}
        self._path, self._see = path, see
        self._known: dict[str, Object] = {}
        self._socket: socket.socket | None = None
        self._begun, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {path}", daemon=True)

    def start(self) -> None:
        """All that is there has been seen on return."""
        self._thread.start()
        if not self._begun.wait(SILENT_S):
            raise AssertionError(f"{self._path}: no list within {SILENT_S:.0f} s")

    def stop(self) -> None:
        self._ended.set()
        if (open_socket := self._socket) is not None:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            with suppress(*ENDED):
                version = self._list()
                self._begun.set()
                while not self._ended.is_set():
                    version = self._follow(version)
            self._ended.wait(AGAIN_S)

    def _list(self) -> str:
        """See all that is there, and what is not any more. Returns the list's version."""
        found = json.loads(b"".join(self._lines("")))
        at_ms = now_ms()
        there = {each["metadata"]["uid"]: each for each in found["items"]}
        for uid, gone in list(self._known.items()):
            if uid not in there:
                self._take(DELETED, gone, at_ms)
        for each in there.values():
            self._take(ADDED, each, at_ms)
        return str(found["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> str:
        """See what happens until the server ends the watch. Raises ValueError where it forgot the version."""
        for line in self._lines(
            f"?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}&resourceVersion={version}"
        ):
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise ValueError(event["object"].get("message", "the watch has expired"))
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self._take(event["type"], event["object"], now_ms())
        return version

    def _take(self, what: str, found: Object, at_ms: int) -> None:
        uid = found["metadata"]["uid"]
        if what == DELETED:
            self._known.pop(uid, None)
        else:
            self._known[uid] = found
        self._see(what, found, at_ms)

    def _lines(self, query: str) -> Iterator[bytes]:
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=SILENT_S, context=_unverified())
        try:
            connection.connect()
            self._socket = connection.sock
            if self._ended.is_set():
                return
            connection.request("GET", self._path + query, headers=self._headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ValueError(f"{self._path}{query}: {answer.status}")
            yield from answer
        finally:
            self._socket = None
            connection.close()


class Note:
    """The kubelet's own note (`kubelet_internal_checkpoint`): device ids by container, and what plugins offer.

    given    ids by (pod's UID, container), from the first time that they stood there; given_ms: that time, unix ms
    offered  what healthy devices were on offer and since when (unix ms), where that changed
    """

    def __init__(self, path: Path) -> None:
        self.given: dict[tuple[str, str], frozenset[str]] = {}
        self.given_ms: dict[tuple[str, str], int] = {}
        self.offered: list[tuple[int, dict[str, frozenset[str]]]] = []
        self._path = path
        self._seen = (0, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="the kubelet's note", daemon=True)

    def start(self) -> None:
        self._look()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._look()

    def note(self, uid: str, container: str, ids: frozenset[str], at_ms: int) -> None:
        """A container was seen to have these, among others."""
        self.given[uid, container] = self.given.get((uid, container), frozenset()) | ids
        self.given_ms.setdefault((uid, container), at_ms)

    def _look(self) -> None:
        """Read the note where it is another; it is written whole, and is not there before the first device."""
        try:
            status = self._path.stat()
            if (seen := (status.st_mtime_ns, status.st_ino)) == self._seen:
                return
            data = json.loads(self._path.read_bytes())["Data"]
        except (FileNotFoundError, ValueError):
            return
        self._seen = seen
        self._read(data)

    def _read(self, data: Object) -> None:
        for entry in data["PodDeviceEntries"] or ():
            ids = frozenset(each for of_node in entry["DeviceIDs"].values() for each in of_node)
            self.note(entry["PodUID"], entry["ContainerName"], ids, now_ms())
        offers = {resource: frozenset(ids) for resource, ids in (data["RegisteredDevices"] or {}).items() if ids}
        if not self.offered or self.offered[-1][1] != offers:
            self.offered.append((now_ms(), offers))


def _unverified() -> ssl.SSLContext:
    """The server of a test has a certificate of its own making."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
