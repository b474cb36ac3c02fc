"""The real server over a real SQLite ledger, on a free port, with a clock that the test sets."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from chargeback.app import Aggregator, prepare, running
from chargeback.config import read_settings
from chargeback.core.owners.owners import Namespace
from chargeback.store.database import Database
from chargeback.store.node_hours import unrated
from chargeback.store.owners import note_namespaces
from chargeback.tasks.close_hours import close_all
from chargeback.tasks.follow_cluster import ClusterTables
from chargeback.tasks.render_metrics import Page, Pushes
from exporter import wire
from tests.chargeback.store.bodies import CLUSTER, HOUR, PRICES, start_ms

NOW_MS = start_ms(HOUR + 1) + 1000
TURN_S = 0.02
WITHIN_S = 10.0

OWNERS = (
    Namespace(name="alpha", cost_center="cc-a", team="red"),
    Namespace(name="beta", cost_center="cc-b", team="blue", tier="best-effort"),
)


class SetClock:
    """Says what the test set; every wait is short, so that the server's tasks turn quickly."""

    def __init__(self, now_ms: int) -> None:
        self.at_ms = now_ms

    def now_ms(self) -> int:
        return self.at_ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(TURN_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    url: str
    database: Database
    clock: SetClock
    session: aiohttp.ClientSession
    tables: ClusterTables

    async def get(self, path: str) -> Answer:
        return await self.request("GET", path)

    async def request(self, method: str, path: str, data: Any = None, **headers: str) -> Answer:
        """path: percent-encoded as it shall travel."""
        url = URL(self.url + path, encoded=True)
        if isinstance(data, bytes):
            data = io.BytesIO(data)  # aiohttp warns of large bytes, and reads a file in pieces
        async with self.session.request(method, url, data=data, headers=headers) as answer:
            return Answer(status=answer.status, body=await answer.read(), headers=dict(answer.headers))

    async def put(self, body: wire.NodeHour | dict[str, Any] | bytes, path: str = "", **headers: str) -> Answer:
        """Push a body, by default to the path that it names."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        if not path:
            said = msgspec.json.decode(data)
            path = f"/v1/node-hours/{said['cluster']}/{said['node']}/{said['hour']}"
        return await self.request("PUT", path, data, **headers)

    async def close_hours(self) -> None:
        """Rate and sum up everything that is over, as the server's own task does in its time."""
        await asyncio.to_thread(close_all, self.database, self.clock.now_ms(), 0)

    async def metrics_with(self, line: str) -> str:
        """The metrics page, once it has the line."""
        page = ""
        for _ in range(int(WITHIN_S / TURN_S)):
            page = (await self.get("/metrics")).body.decode()
            if line in page.splitlines():
                return page
            await asyncio.sleep(TURN_S)
        raise AssertionError(f"no {line} in\n{page}")

    def kept(self) -> int:
        """How many node-hours the ledger knows of that were never rated."""
        with self.database.read() as connection:
            return len(unrated(connection))


@asynccontextmanager
async def serving(folder: Path, now_ms: int = NOW_MS, *, prices: str = PRICES, **flags: str) -> AsyncIterator[Server]:
    """flags: settings by their names, with _ for -."""
    (folder / "prices.yaml").write_text(prices)
    given = {name.replace("_", "-"): value for name, value in flags.items()}
    defaults = {"data": str(folder), "listen": "127.0.0.1:0", "cluster": CLUSTER, "prices": f"{folder}/prices.yaml"}
    settings = read_settings(defaults | {"grace": "10m"} | given, {})
    clock = SetClock(now_ms)
    database = await asyncio.to_thread(prepare, settings, clock)
    tables = ClusterTables()
    aggregator = Aggregator(
        settings=settings, database=database, clock=clock, tables=tables, pushes=Pushes(), page=Page()
    )
    if settings.owners is None:
        with database.write() as connection:
            note_namespaces(connection, CLUSTER, OWNERS, "file", 0)
    try:
        async with running(aggregator) as url, aiohttp.ClientSession() as session:
            yield Server(url=url, database=database, clock=clock, session=session, tables=tables)
    finally:
        database.close()
