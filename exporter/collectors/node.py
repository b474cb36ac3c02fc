"""All collectors of a node, once a beat: cards and holdings side by side, then whose the processes are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from exporter.clock import Clock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.processes import Processes
from exporter.collectors.runner import Runner
from exporter.reading import CgroupOwner, CollectorResult, KubeletReading, NodeReading
from exporter.worker import Calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the collectors of one beat saw; None where one failed."""

    node: NodeReading | None
    kubelet: KubeletReading | None
    owners: Mapping[int, CgroupOwner | None] | None
    results: tuple[CollectorResult, ...]

    @property
    def released(self) -> bool:
        """Whether the driver was let go: nothing failed, and no card was read."""
        return self.node is None and all(how.success for how in self.results if how.name == Gpus.name)


class Collectors:
    """The three collectors and their runners, each with its own thread or none.

    fatal  what only a new process can mend
    """

    def __init__(
        self,
        gpus: Gpus,
        holdings: Holdings,
        processes: Processes,
        *,
        calls: Callable[[str], Calls],
        clock: Clock,
        deadline_s: float,
        fatal: tuple[type[Exception], ...] = (),
    ) -> None:
        self._gpus, self._holdings, self._processes = gpus, holdings, processes

        def runner(name: str, abandon: Callable[[], None] | None = None) -> Runner:
            return Runner(name, calls(name), clock=clock, deadline_s=deadline_s, abandon=abandon, fatal=fatal)

        self._gpus_runner = runner(gpus.name, gpus.abandon)
        self._holdings_runner = runner(holdings.name, holdings.abandon)
        self._processes_runner = runner(processes.name)

    async def collect(self, *, released: Callable[[], bool] = lambda: False) -> Seen:
        """Never raises but for what is fatal. released: asked at the last moment; if so, no card is read."""

        def read_cards() -> NodeReading | None:
            if not released():
                return self._gpus.collect()
            self._gpus.let_go()
            return None

        (node, how_gpus), (kubelet, how_holdings) = await asyncio.gather(
            self._gpus_runner.run(read_cards), self._holdings_runner.run(self._holdings.collect)
        )
        look = partial(self._processes.collect, node or NodeReading())
        owners, how_processes = await self._processes_runner.run(look)
        return Seen(node=node, kubelet=kubelet, owners=owners, results=(how_gpus, how_holdings, how_processes))

    async def let_go(self) -> CollectorResult:
        """Close the driver now, after the reading that may be under way; the next `collect` opens it again."""
        return (await self._gpus_runner.run(self._gpus.let_go))[1]

    async def close(self) -> None:
        """Let go of the driver, if it lets us."""
        await self._gpus_runner.run(self._gpus.close)
