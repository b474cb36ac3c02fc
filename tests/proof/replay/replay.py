"""Replay: a recorded run once more through both programs, on a virtual clock.

    async with replaying(recording.so_that(then_ms, midnight_ms), folder, timezone="Europe/Berlin") as run:
        await run.play()
        run.rate()
        print(run.export("2026-10"))

The recording stands in for silicon, kubelet, /proc and API server. All else is the product: the agent's own loop with
its sources, meter, spool and push, over HTTP to the aggregator's ingest; its tables, history, rating, months, export.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from chargeback.app import Aggregator, make_app, prepare
from chargeback.cluster.kinds import kinds
from chargeback.config import Settings, read_settings
from chargeback.core.adjustments import Adjustment, Scope
from chargeback.core.details import HOUR
from chargeback.core.lines import CREDIT
from chargeback.core.months.closing import Limits
from chargeback.exports import Wish, export
from chargeback.months.close import approve, close
from chargeback.months.close import prepare as draft
from chargeback.months.look import look
from chargeback.store.adjustments import make_adjustment
from chargeback.store.policies import policy_book
from chargeback.tasks.close_hours import close_all
from chargeback.tasks.follow_cluster import ClusterTables, Noter
from chargeback.tasks.render_metrics import Page, Pushes
from exporter import wire
from exporter.agent import Agent
from exporter.cgroups import CgroupReader
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors
from exporter.collectors.processes import Processes
from exporter.kubelet import Kubelet
from exporter.push import Door, Pusher
from exporter.spool import Spool
from exporter.worker import DirectCalls
from tests.cluster.pushed import bodies
from tests.proof.comparison.strays import Stray, strays_of
from tests.proof.replay.heard_api import HeardApi
from tests.proof.replay.heard_node import BeatClock, HeardNode, Step
from tests.proof.replay.recording import Beat, News, Recording, Word
from tests.proof.replay.virtual_clock import VirtualClock

# At the latest, whatever chance says, the agent has pushed its running hour again.
PUSHED_S = 40.0
# Of an aggregator's word: changes that come together are noted together.
TOGETHER_MS = 500
GRACE_MS = 600_000
TIMEOUT_S = 5.0
WHO = "ann"


class AggregatorDoor:
    """Where the aggregator listens, while it is open: closed, nobody answers the agent."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._site: web.TCPSite | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        assert self._site is not None
        await self._site.stop()


@dataclass(kw_only=True)
class Run:
    """Both programs, and the recording that is played to them. door: the aggregator's.

    steps  of the node's clock, while nobody else's is wrong: from when on it is how far ahead, in ms
    """

    recording: Recording
    folder: Path
    clock: VirtualClock
    settings: Settings
    aggregator: Aggregator
    noter: Noter
    api: HeardApi
    node: HeardNode
    session: aiohttp.ClientSession
    door: AggregatorDoor
    steps: list[Step] = field(default_factory=list)
    _agent_tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _spool: Spool | None = None
    _played: int = 0
    _noted_ms: int = 0

    async def play(self, until_ms: int | None = None) -> None:
        """What was heard until an instant (and not at it), or to the end."""
        for entry in self.recording.heard[self._played :]:
            if until_ms is not None and entry.at_ms >= until_ms:
                break
            self._played += 1
            if isinstance(entry, Beat):
                await self._beat(entry)
            elif isinstance(entry, News):
                await self._hear(entry)
        await self.noter.note()

    async def settle(self) -> None:
        """Time for the agent to push all that it knows."""
        await self.wait(PUSHED_S)

    async def wait(self, seconds: float) -> None:
        """Time passes, and nothing is heard meanwhile: once the recording is over, nothing happens in the cluster."""
        await self.clock.advance(self.clock.now_ms() + round(seconds * 1000))
        if self._played == len(self.recording.heard):
            await self.api.stay()
            await self.noter.note()

    async def kill_agent(self) -> None:
        """As SIGKILL between two beats: what is on its disk stays, and the next agent goes on from there."""
        await self.clock.stop(*self._agent_tasks)
        self._agent_tasks.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def rate(self, at_ms: int | None = None) -> None:
        """Close what is due, as `serve` does again and again; or, by an instant, as if it were that."""
        close_all(self.aggregator.database, self.clock.now_ms() if at_ms is None else at_ms, GRACE_MS)

    def export(self, month: str, *, provisional: bool = True) -> str:
        """Every line of a month, as `chargeback export --detail hour` writes them."""
        wish = Wish(month=month, detail=HOUR, now_ms=self.clock.now_ms() if provisional else None)
        return b"".join(export(self.aggregator.database, wish)).decode()

    def strays(self) -> dict[str, Stray]:
        """Use without allocation, as the agent has pushed it."""
        pushed = bodies(self.folder / "ledger.db", self.recording.head.node)
        return strays_of(json.loads(wire.encode(body)) for _, body in pushed)

    def statement(self, month: str) -> str:
        """The monthly CSV."""
        return b"".join(export(self.aggregator.database, Wish(month=month))).decode()

    def close_month(self, month: str) -> None:
        """Draft, approve, close; whatever blocks it and may be waived is."""
        database, now_ms, limits = self.aggregator.database, self.clock.now_ms(), Limits()
        found = look(database, month, now_ms, GRACE_MS, limits).findings
        waived = sorted({each.name for each in found if each.blocks and each.waivable})
        draft(database, month, WHO, now_ms, GRACE_MS, limits, waived, "a replay")
        approve(database, month, "bob", now_ms)
        close(database, month, WHO, now_ms)

    def credit(self, cost_center: str, from_ms: int, until_ms: int, micros: int) -> None:
        """Give somebody a sum back, as `chargeback adjust credit` does."""
        wanted = Adjustment(
            number=0, kind=CREDIT, from_ms=from_ms, until_ms=until_ms, amount_micros=micros, month="",
            scope=Scope(cluster=self.recording.head.cluster, cost_center=cost_center), ticket="OPS-1",
            reason="a replay", who=WHO, recorded_ms=self.clock.now_ms(),
        )  # fmt: skip
        with self.aggregator.database.write() as connection:
            book = policy_book(connection)
            assert book is not None
            make_adjustment(connection, wanted, book.first.timezone, book.first.version)

    async def _beat(self, beat: Beat) -> None:
        await self.clock.advance(beat.at_ms)
        if not self._agent_tasks:
            self.start_agent()
            await self.clock.advance(beat.at_ms)

    async def _hear(self, news: News) -> None:
        await self.clock.advance(news.at_ms)
        await self.api.tell(news)
        if self.clock.now_ms() - self._noted_ms >= TOGETHER_MS:
            await self.noter.note()
            self._noted_ms = self.clock.now_ms()

    def start_agent(self) -> None:
        """As `exporter/cli.py` wires it, on doors that the recording is behind. After its end it is blind."""
        head, disk = self.recording.head, DirectCalls()
        clock = BeatClock(self.clock, self.node, self.recording.beats, self.steps)
        collectors = Collectors(
            Gpus(self.node),
            Holdings(Kubelet(self.folder / "kubelet.sock", timeout_s=TIMEOUT_S)),
            Processes(CgroupReader(self.node.proc)),
            calls=lambda _: DirectCalls(),
            clock=clock,
            deadline_s=TIMEOUT_S,
        )
        self._spool = Spool(self.folder / "spool", cluster=head.cluster, node=head.node, now_ms=clock.now_ms())
        agent = Agent(collectors, self._spool, clock=clock, beat_ms=head.beat_ms, disk=disk, pushing=True)
        door = Door(self.session, self.door.url, cluster=head.cluster, node=head.node, token_file=None)
        pusher = Pusher(door, self._spool, clock=self.clock, disk=partial(disk.call, timeout_s=TIMEOUT_S))
        agent.pushes = pusher
        eternal = (agent.run(), pusher.push_finished(), pusher.push_running(agent.running))
        self._agent_tasks = [self.clock.start(each) for each in eternal]


@asynccontextmanager
async def replaying(
    recording: Recording, folder: Path, *, timezone: str = "UTC", plans: str = ""
) -> AsyncIterator[Run]:
    """Both programs, ready for the recording. folder: of all their files. plans: a plan file's text, if any."""
    head = recording.head
    clock = VirtualClock(min(each.at_ms for each in recording.heard if not isinstance(each, Word)))
    (folder / "prices.yaml").write_text(head.prices)
    (folder / "proc").mkdir()
    flags = {
        "data": str(folder),
        "cluster": head.cluster,
        "timezone": timezone,
        "prices": str(folder / "prices.yaml"),
    }
    if plans:
        (folder / "plans.yaml").write_text(plans)
        flags["plans"] = str(folder / "plans.yaml")
    settings = read_settings(flags, {})
    node = HeardNode(folder / "proc")
    async with AsyncExitStack() as stack:
        aggregator = Aggregator(
            settings=settings, database=prepare(settings, clock), clock=clock,
            tables=ClusterTables(), pushes=Pushes(), page=Page(),
        )  # fmt: skip
        stack.callback(aggregator.database.close)
        news = [each for each in recording.heard if isinstance(each, News)]
        api = HeardApi(clock, kinds(settings.label_keys, settings.pod_labels, settings.node_keys), news)
        stack.push_async_callback(api.close)
        api.follow(aggregator.tables)
        connector = aiohttp.TCPConnector(force_close=True)  # an open connection would outlive a closed door
        noter = Noter(
            database=aggregator.database, cluster=head.cluster, tables=aggregator.tables, source="api",
            now_ms=clock.now_ms,
        )  # fmt: skip
        run = Run(
            recording=recording, folder=folder, clock=clock, settings=settings, aggregator=aggregator, noter=noter,
            api=api, node=node, session=await stack.enter_async_context(aiohttp.ClientSession(connector=connector)),
            door=await _serve(stack, aggregator),
        )  # fmt: skip
        stack.enter_context(node.kubelet(folder / "kubelet.sock"))
        stack.push_async_callback(run.kill_agent)
        yield run


async def _serve(stack: AsyncExitStack, aggregator: Aggregator) -> AggregatorDoor:
    """The aggregator's HTTP, on loopback."""
    runner = web.AppRunner(make_app(aggregator), auto_decompress=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    door = AggregatorDoor(runner)
    await door.open()
    return door
