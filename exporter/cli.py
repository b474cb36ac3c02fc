"""`gpu-exporter`: reads the settings, wires the agent, and ends it well. Exit codes are in `main`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from exporter.agent import Agent
from exporter.app import make_app
from exporter.clock import Clock, ReplayClock, SystemClock
from exporter.config import DEFAULT_SCENARIO, PREFIX, SETTINGS, Replay, Settings, SettingsError, read_settings
from exporter.logs import log_to_stderr
from exporter.memory_spool import MemorySpool
from exporter.push import Door, Pusher
from exporter.release import DEFAULT_S as RELEASE_S
from exporter.release_routes import serve_release
from exporter.replay import replay
from exporter.sources import NothingToRead, open_collectors
from exporter.spool import Spool, SpoolError
from exporter.web_guard import Guard
from exporter.worker import Calls, DirectCalls, Worker

log = logging.getLogger("exporter")

OK, FAILED, CANNOT_START = 0, 1, 2
LAST_SAVE_S = 3.0  # Kubernetes gives 30 s, a node that shuts down less; we promise 5
DISK_TIMEOUT_S = 10.0

_EXAMPLES = f"""\
examples:
  gpu-exporter --simulate --listen 127.0.0.1:10466
        look at the metrics of a small simulated node
  gpu-exporter --node worker-1 --cluster lab --spool /var/lib/gpu-exporter --push https://chargeback:10467
        meter this node and push its node-hours
  gpu-exporter --replay 2026-09-01..2026-10-01 --push http://127.0.0.1:10467
        fill an aggregator with a month of simulated hours

Every setting is also an environment variable ({PREFIX}PUSH_TOKEN_FILE) and a key of the file given with
--config (push-token-file). A flag wins over the environment, the environment over the file.

Driver work on the node (a reset, other MIG instances, another driver) needs NVML to itself. SIGUSR1 has the next
beat let go of it for two minutes; from the node itself, `curl -X POST 127.0.0.1:10466/v1/release?for=120s` does so
at once, and `-X DELETE` takes it back. gpu_exporter_released says which; the account goes on.

exit codes: 0 ended as asked; 1 failed (its log says why), or a replayed hour was refused; 2 cannot start:
bad settings, a spool that cannot be had, or no NVIDIA driver and no --simulate.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the agent. Exit codes: 0 ended as asked; 1 failed; 2 cannot start, and stderr says what is missing."""
    flags = _parser().parse_args(argv)
    file = flags.config or (Path(os.environ[PREFIX + "CONFIG"]) if os.environ.get(PREFIX + "CONFIG") else None)
    log_to_stderr()
    try:
        settings = read_settings({each.name: getattr(flags, each.field) for each in SETTINGS}, os.environ, file)
        return asyncio.run(_replay(settings, settings.replay) if settings.replay else _serve(settings))
    except (SettingsError, NothingToRead, SpoolError) as error:
        print(f"gpu-exporter: cannot start:\n{error}", file=sys.stderr)  # noqa: T201 - for people, before any log
        return CANNOT_START
    except KeyboardInterrupt:
        return OK
    except Exception:  # the top of main: everything the agent could not name
        log.exception("agent failed")
        return FAILED


# As exporters of Prometheus call them.
_ALIASES = {"listen": ("--web.listen-address",), "web-config": ("--web.config.file",)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpu-exporter",
        description="Meters the GPUs of one node: who held which device, for how long, and how busy it was.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"YAML file of settings [{PREFIX}CONFIG]")
    for setting in SETTINGS:
        names = [f"--{setting.name}", *_ALIASES.get(setting.name, ())]
        default = f"; default {setting.default}" if setting.default and setting.name != "node" else ""
        optional: dict[str, Any] = {"nargs": "?", "const": DEFAULT_SCENARIO} if setting.name == "simulate" else {}
        text = f"{setting.help}{default} [{setting.variable}]"
        parser.add_argument(*names, dest=setting.field, metavar=setting.metavar, help=text, **optional)
    return parser


async def _serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. One task group owns all that is eternal: if one dies, all end."""
    clock = SystemClock()
    stop = _on_signals()
    async with AsyncExitStack() as stack:
        collectors = open_collectors(settings, clock)
        stack.push_async_callback(_within, LAST_SAVE_S / 3, collectors.close)
        keeper = _open_spool(settings, clock)
        stack.callback(keeper.close)
        disk: Calls = Worker("spool") if settings.spool else DirectCalls()
        agent = Agent(collectors, keeper, clock=clock, beat_ms=settings.beat, disk=disk, pushing=bool(settings.push))
        on_usr1 = partial(agent.release.order, RELEASE_S, by="SIGUSR1")
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, on_usr1)
        await _start_server(stack, settings, agent)
        stack.push_async_callback(_within, LAST_SAVE_S, agent.save)
        tasks: list[Coroutine[Any, Any, None]] = [agent.run()]
        if settings.push:
            pusher = await _open_pusher(stack, settings, keeper, disk, clock, heed=agent.release.heed)
            agent.pushes = pusher
            tasks += [pusher.push_finished(), pusher.push_running(agent.running)]
        log.info("agent started", extra={"node": settings.node, "instance": keeper.identity.instance})
        await _until(stop, tasks)
        log.info("agent ends")
    return OK


async def _replay(settings: Settings, hours: Replay) -> int:
    """Push the hours of a simulated node."""
    clock = ReplayClock(hours.from_ms)
    async with AsyncExitStack() as stack:
        collectors = open_collectors(settings, clock)
        keeper = _open_spool(settings, clock)
        stack.callback(keeper.close)
        disk = DirectCalls()
        agent = Agent(collectors, keeper, clock=clock, beat_ms=settings.beat, disk=disk)
        pusher = await _open_pusher(stack, settings, keeper, disk, SystemClock())
        refused = await replay(agent, keeper, pusher, clock, until_ms=hours.until_ms, beat_ms=settings.beat)
    log.info("replay ended", extra={"refused_hours": refused})
    return FAILED if refused else OK


def _open_spool(settings: Settings, clock: Clock) -> Spool | MemorySpool:
    if settings.spool is None:
        if settings.push and not settings.replay:
            log.warning("no --spool: hours that are not acknowledged are lost when the agent ends")
        return MemorySpool(cluster=settings.cluster, node=settings.node, now_ms=clock.now_ms())
    return Spool(settings.spool, cluster=settings.cluster, node=settings.node, now_ms=clock.now_ms())


async def _open_pusher(
    stack: AsyncExitStack,
    settings: Settings,
    keeper: Spool | MemorySpool,
    disk: Calls,
    clock: Clock,
    *,
    heed: Callable[[float | None], None] = lambda release_s: None,
) -> Pusher:
    # Its own authorities: aiohttp's may have been left out at its import (__main__.py).
    authorities = ssl.create_default_context() if settings.push.lower().startswith("https:") else True
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=authorities)))
    door = Door(
        session,
        settings.push,
        cluster=settings.cluster,
        node=settings.node,
        token_file=settings.push_token_file,
    )
    return Pusher(door, keeper, clock=clock, disk=partial(disk.call, timeout_s=DISK_TIMEOUT_S), heed=heed)


async def _start_server(stack: AsyncExitStack, settings: Settings, agent: Agent) -> None:
    app = make_app(agent)
    serve_release(app, agent)
    guard = None if settings.web_config is None else Guard(settings.web_config)
    if guard is not None:
        guard.set_up(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        tls = None if guard is None else guard.ssl_context
        await web.TCPSite(runner, settings.listen.host, settings.listen.port, ssl_context=tls).start()
    except OSError as error:
        raise SettingsError(f"--listen={settings.listen.host}:{settings.listen.port}: {error}") from error


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _until(stop: asyncio.Event, eternal: list[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in eternal]
        await stop.wait()
        for task in tasks:
            task.cancel()


async def _within(seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """The last steps of the process: nothing that hangs may keep it alive."""
    try:
        await asyncio.wait_for(work(), seconds)
    except TimeoutError:
        log.error("left undone at the end", extra={"step": getattr(work, "__qualname__", str(work))})


if __name__ == "__main__":
    sys.exit(main())
