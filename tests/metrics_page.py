"""A page of metrics that never changes, served by as many replicas as a test wants: something to scrape."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def replicas_of(page: str, count: int) -> Iterator[list[str]]:
    """Their addresses, `host:port`, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ExitStack() as running:
        addresses = []
        for _ in range(count):
            replica = running.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=replica.serve_forever, daemon=True).start()
            running.callback(replica.shutdown)
            addresses.append(f"127.0.0.1:{replica.server_port}")
        yield addresses
