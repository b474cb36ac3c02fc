"""An aggregator that only keeps bodies and holds each to what it was told before. It may fail as networks do.

with BodyReceiver() as receiver:
    …  # an agent pushes to receiver.url
    receiver.newest
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from chargeback.bodies import read_body
from chargeback.core.node_hour import NodeHour
from chargeback.core.spans import intersect

Key = tuple[int, str]  # hour and instance


class BodyReceiver:
    """newest: the last body of each hour and instance. broken: what no sound agent would have sent."""

    def __init__(self, *, answer: Callable[[], tuple[int, dict[str, float]]] = lambda: (200, {})) -> None:
        """answer: status and JSON of the next answer; the body is kept whatever it says."""
        self.newest: dict[Key, NodeHour] = {}
        self.broken: list[str] = []
        self._answer = answer
        self._lock = threading.Lock()

    def take(self, body: NodeHour) -> None:
        """Keep a body, if it goes on from the one before."""
        with self._lock:
            key = (body.hour, body.instance)
            before = self.newest.get(key)
            if before is not None and body.seq < before.seq:
                return  # late: it was overtaken
            if before is not None and body.seq == before.seq and body != before:
                self.broken.append(f"{key}: number {body.seq} was used for two bodies")
            if before is not None and until(body, before.through) != until(before, before.through):
                self.broken.append(f"{key}: number {body.seq} tells other things of the time before {before.through}")
            self.newest[key] = body

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    receiver.take(read_body(gzip.decompress(data)))
                except ValueError as error:
                    receiver.broken.append(f"{self.path}: {error}")
                status, said = receiver._answer()
                text = json.dumps({"seq": 1, "stored": True} | said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """Not on the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def until(body: NodeHour, ms: int) -> tuple[object, ...]:
    """What a body says of the time before an instant. Not usage, which is of whole records."""
    span = ((0, ms),)
    cards = {
        gpu.uuid: (
            intersect(gpu.observed, span),
            intersect(gpu.unhealthy, span),
            [(each.start, min(each.end, ms), each.mig, each.shares) for each in gpu.layouts if each.start < ms],
        )
        for gpu in body.gpus
        if intersect(gpu.observed, span)
    }
    instances = [
        (each.uuid, each.start, min(each.end, ms), each.gpu, each.c, each.g, each.m, each.shares)
        for each in body.instances
        if each.start < ms
    ]
    holdings = [
        (each.device, each.shares, each.start, min(each.end, ms), each.holder)
        for each in body.holdings
        if each.start < ms
    ]
    return cards, sorted(instances), sorted(holdings)
