"""The aggregator as a process under the shipped rights, on PostgreSQL: killed and started again on the same port."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from exporter import wire
from tests.cluster import shipped_agent
from tests.cluster.control_plane import AGGREGATOR_TOKEN, ControlPlane
from tests.cluster.daemon import Daemon
from tests.programs import chargeback, fetch, free_port, wait_for
from tests.proof.comparison.strays import Stray, strays_of

HOUR_MS = 3_600_000


class Aggregator:
    """Ready on entry. database: URL of its ledger."""

    def __init__(self, folder: Path, plane: ControlPlane, database: str, cluster: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.database = database
        arguments = (
            *("serve", "--database", database, "--cluster", cluster, "--listen", f"127.0.0.1:{port}"),
            *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN))),
            *("--agent-account", f"{shipped_agent.NAMESPACE}/{shipped_agent.NAME}"),
        )
        self._daemon = Daemon([sys.executable, "-m", "chargeback.cli.main", *arguments], folder / "serve.log")
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._daemon.stop()

    def kill(self) -> None:
        with self._lock:
            self._daemon.stop(kill=True)

    def start(self) -> None:
        with self._lock:
            if not self._daemon.alive():
                self._daemon.start()

    def wait_ready(self) -> None:
        """One that ended, for its database was away when it began, begins anew, as a cluster would have it."""
        try:
            wait_for("the aggregator is ready", self._ready)
        except AssertionError as late:
            raise AssertionError(f"{late}: {self._daemon.said()}") from late

    def command(self, *arguments: str) -> str:
        """What a `chargeback` command on its ledger writes."""
        return chargeback(*arguments, "--database", self.database, env={"COLUMNS": "200"}).stdout.decode()

    def through_ms(self, node: str) -> int:
        """Up to when the node's agents have accounted for what was pushed; 0 where nothing was."""
        query = "SELECT hour, body FROM node_hour_bodies WHERE node = %s ORDER BY hour DESC LIMIT 4"
        with psycopg.connect(self.database) as connection:
            found = connection.execute(query, [node]).fetchall()
        bodies = ((hour, wire.decode(gzip.decompress(body))) for hour, body in found)
        return max((hour * HOUR_MS + body.through for hour, body in bodies), default=0)

    def strays(self, node: str) -> dict[str, Stray]:
        """Use without allocation, as the node's agents have pushed it, hour by hour."""
        query = "SELECT body FROM node_hour_bodies WHERE node = %s"
        with psycopg.connect(self.database) as connection:
            found = connection.execute(query, [node]).fetchall()
        return strays_of(json.loads(gzip.decompress(body)) for (body,) in found)

    def living(self, namespaces: Sequence[str]) -> list[str]:
        """Pods of these namespaces whose end the ledger has not learnt."""
        query = "SELECT pod FROM pods WHERE namespace = ANY(%s) AND ended_ms IS NULL"
        with psycopg.connect(self.database) as connection:
            return [str(pod) for (pod,) in connection.execute(query, [list(namespaces)])]

    def export(self, month: str) -> str:
        """Every line of a month, hours that are not closed yet included."""
        arguments = ("export", "--month", month, "--detail", "hour", "--provisional", "--allow-unpriced")
        return self.command(*arguments)

    def close_hours(self) -> None:
        """Those that are over, without waiting for the grace."""
        self.command("rerate", "--now")

    def _ready(self) -> bool:
        self.start()
        return fetch(f"{self.url}/readyz")[0] == 200
