"""The agents under observation in record.py, and the aggregator they push to."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.programs import fetch, free_port, wait_for

PUSHED_WITHIN_S = 45
WEIGHED_EVERY_S = 5
TICK = os.sysconf("SC_CLK_TCK")


class Aggregator(ThreadingHTTPServer):
    """Takes node-hours and keeps the last body of each node."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Put)
        self.bodies: dict[str, dict[str, Any]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Put(BaseHTTPRequestHandler):
    server: Aggregator

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        node = self.path.split("/")[-2]
        self.server.bodies[node] = json.loads(gzip.decompress(data))
        said = b'{"seq": 1, "stored": true}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None: ...


class Agent:
    """A `gpu-exporter` process, as the DaemonSet runs it."""

    def __init__(self, name: str, beat: str, scratch: Path, push: str, env: dict[str, str] | None = None) -> None:
        self.name, self.url = name, f"http://127.0.0.1:{free_port()}"
        self._log = (scratch / f"{name}.log").open("wb")
        arguments = ["--node", name, "--cluster", "lab", "--listen", self.url.removeprefix("http://"), "--beat", beat]
        arguments += [
            "--kubelet-socket",
            str(scratch / "kubelet.sock"),
            "--spool",
            str(scratch / name),
            "--push",
            push,
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "exporter", *arguments],
            env={**os.environ, **(env or {})}, stderr=self._log,
        )  # fmt: skip
        wait_for(f"agent {name}", lambda: fetch(f"{self.url}/readyz")[0] == 200, within_s=20)
        self._began = self._usage()
        self.rss_kib: list[int] = []

    def page(self) -> str:
        return fetch(f"{self.url}/metrics")[1].decode()

    def _usage(self) -> tuple[float, float]:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return time.monotonic(), (int(fields[11]) + int(fields[12])) / TICK

    def _status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines)

    def weigh(self) -> None:
        self.rss_kib.append(int(self._status()["VmRSS"].split()[0]))

    def footprint(self) -> dict[str, Any]:
        """Of the time since it was ready: its first beat is not in it."""
        (from_s, cpu_from_s), (until_s, cpu_until_s) = self._began, self._usage()
        status = self._status()
        return {
            "seconds": round(until_s - from_s, 2),
            "cpu_s": round(cpu_until_s - cpu_from_s, 2),
            "beats": _value(self.page(), "gpu_exporter_beats_total"),
            **{name: status[name].strip() for name in ("VmRSS", "VmHWM", "RssAnon", "RssFile", "Threads")},
            "rss_kib_every_5_s": self.rss_kib,
            "open_files": len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())),
        }

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self._log.close()
        return code


def _value(page: str, name: str) -> float:
    return next(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))


def weigh(agents: list[Agent], ended: threading.Event) -> None:
    """Note the agents' sizes now and then, and fetch their pages as Prometheus does."""
    while not ended.wait(WEIGHED_EVERY_S):
        for agent in agents:
            agent.weigh()
            agent.page()


def wait_for_pushes(aggregator: Aggregator, agents: list[Agent]) -> None:
    """Wait until each agent has pushed a body made from now on."""
    time.sleep(1)
    seen = {name: body["seq"] for name, body in aggregator.bodies.items()}
    names = [agent.name for agent in agents]
    wait_for(
        "a push of every agent",
        lambda: all(aggregator.bodies.get(name, {}).get("seq", 0) > seen.get(name, 0) for name in names),
        within_s=PUSHED_WITHIN_S,
    )
