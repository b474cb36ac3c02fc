"""The aggregator in this process, on a loop of its own, with a clock that tests choose; and the history it keeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from sqlalchemy import select

from chargeback.app import Aggregator, prepare
from chargeback.app import running as serving
from chargeback.clock import SystemClock
from chargeback.config import Settings, read_settings
from chargeback.store.database import Database, open_database
from chargeback.store.tables import owners, pods
from chargeback.tasks.follow_cluster import ClusterTables
from chargeback.tasks.render_metrics import Page, Pushes
from tests.cluster.control_plane import AGGREGATOR_TOKEN, ControlPlane
from tests.programs import fetch

CLUSTER = "lab"
# TLS says goodbye after the client was closed; a loop that ends before leaves open sockets.
CLOSES_S = 1.0


class ShiftedClock(SystemClock):
    """Wrong by a constant, and in a hurry: it waits a tenth of what it is told, so that polling is not felt."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One row of a namespace's history, as it is stored."""

    version: int
    uid: str | None
    from_ms: int
    until_ms: int | None
    cost_center: str | None
    team: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One pod's row, as it is stored."""

    uid: str
    bound_ms: int
    alive_ms: int | None
    ended_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What an aggregator keeps, read from its database; it need not run."""

    database: Database

    def versions(self, namespace: str) -> list[Version]:
        columns = [owners.c[each.name] for each in fields(Version)]
        query = select(*columns).where(owners.c.cluster == CLUSTER, owners.c.namespace == namespace)
        with self.database.read() as connection:
            return [Version(**row._mapping) for row in connection.execute(query.order_by(owners.c.version))]

    def lives(self, namespace: str, pod: str) -> list[Life]:
        """Of all pods of that name, as they were bound."""
        columns = [pods.c[each.name] for each in fields(Life)]
        query = select(*columns).where(pods.c.cluster == CLUSTER, pods.c.namespace == namespace, pods.c.pod == pod)
        with self.database.read() as connection:
            return [Life(**row._mapping) for row in connection.execute(query.order_by(pods.c.bound_ms, pods.c.uid))]

    def costs(self, namespace: str) -> list[str | None]:
        """The cost centers it had, in order."""
        return [version.cost_center for version in self.versions(namespace)]


@contextmanager
def ledger(folder: Path) -> Iterator[Ledger]:
    database = open_database(_settings(folder, None).database_url)
    try:
        yield Ledger(database=database)
    finally:
        database.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running(Ledger):
    url: str

    def page(self) -> bytes:
        status, body = fetch(self.url + "/metrics")
        assert status == 200, (status, body)
        return body


@contextmanager
def aggregating(plane: ControlPlane, folder: Path, *, ahead_ms: int = 0) -> Iterator[Running]:
    """Serve under the shipped rights until the block ends; an eternal task that died is raised then.

    ahead_ms: how far its clock is ahead of the cluster's; negative: behind.
    """
    settings = _settings(folder, plane)
    clock = ShiftedClock(ahead_ms)
    database = prepare(settings, clock)
    aggregator = Aggregator(
        settings=settings, database=database, clock=clock, tables=ClusterTables(), pushes=Pushes(), page=Page()
    )
    url: Future[str] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    failures: list[BaseException] = []

    async def serve() -> None:
        async with serving(aggregator) as found:
            url.set_result(found)
            await stop.wait()
        await asyncio.sleep(CLOSES_S)

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            failures.append(error)
            if not url.done():
                url.set_exception(error)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Running(database=database, url=url.result(60))
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
        database.close()
    if failures:
        raise failures[0]


def _settings(folder: Path, plane: ControlPlane | None) -> Settings:
    flags = {"data": str(folder), "cluster": CLUSTER, "listen": "127.0.0.1:0"}
    if plane is not None:
        flags["kubeconfig"] = str(plane.kubeconfig(AGGREGATOR_TOKEN))
    return read_settings(flags, {})
