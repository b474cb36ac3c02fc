"""Wiring of the server: database, tasks and routes, once."""

from __future__ import annotations

import asyncio
import logging
import shlex
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web

from chargeback.api import budgets, health, lines, months, node_hours, quota_uses, quotas, state, statements
from chargeback.api.agents import Agents, Reviewer
from chargeback.api.errors import errors_as_json
from chargeback.api.tokens import Tokens
from chargeback.clock import Clock, SystemClock
from chargeback.cluster.api import ApiError, ClusterApi
from chargeback.cluster.login import find_cluster
from chargeback.cluster.token_review import TokenReviewer
from chargeback.config import Settings
from chargeback.files.owner_rules import OwnerRulesFile
from chargeback.files.plans import read_plan_file
from chargeback.files.prices import read_price_file
from chargeback.store.database import Connection, Database, open_database
from chargeback.store.policies import TermsConflict, begin_policy, policy_book
from chargeback.store.retention import Keep
from chargeback.store.schema import migrate
from chargeback.store.terms import PricesRefused, import_prices
from chargeback.tasks.close_hours import keep_closing, spare_collector
from chargeback.tasks.draft_months import keep_drafting
from chargeback.tasks.follow_cluster import ClusterTables, Noter, keep_following
from chargeback.tasks.follow_files import keep_reading, read_files
from chargeback.tasks.keep_storage import keep_tending
from chargeback.tasks.note_plans import import_plan_file, keep_importing
from chargeback.tasks.render_metrics import Page, Pushes, keep_rendering
from chargeback.web import pages
from chargeback.web_guard import Guard

log = logging.getLogger(__name__)

# A slow reader of a big CSV must not keep a stopping server alive.
SHUTDOWN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregator:
    """Everything that runs, wired."""

    settings: Settings
    database: Database
    clock: Clock
    tables: ClusterTables
    pushes: Pushes
    page: Page


def prepare(settings: Settings, clock: Clock) -> Database:
    """Open and migrate the database and begin the ledger's terms.

    Raises DatabaseError, TermsConflict, PriceFileError, PlanFileError, OSError.
    """
    if settings.prices:
        read_price_file(settings.prices, settings.timezone)  # what is wrong with it is said before anything is begun
    if settings.plans is not None:
        read_plan_file(settings.plans, settings.cluster, settings.timezone)
    database = open_database(settings.database_url)
    before, after = migrate(database)
    if before != after:
        log.info("database migrated", extra={"from": before, "to": after})
    with database.write() as connection:
        begin_policy(connection, settings.policy, clock.now_ms())
        if settings.prices:
            _import_prices(connection, settings.prices, clock.now_ms())
    if settings.plans is not None:
        # Apart, for other replicas note plans meanwhile, and want the same locks in another order.
        with database.write() as connection:
            import_plan_file(connection, settings.plans, settings.cluster, clock.now_ms())
    return database


def _import_prices(connection: Connection, name: str, now_ms: int) -> None:
    """Raises TermsConflict that says by which command these prices can be had all the same."""
    policies = policy_book(connection)
    assert policies is not None, "it was just begun"
    timezone = policies.first.timezone
    try:
        import_prices(connection, read_price_file(name, timezone), name, timezone, now_ms)
    except PricesRefused as error:
        todo = f"to take them all the same: chargeback prices import {shlex.quote(name)} --force --reason WHY"
        raise TermsConflict("\n".join([*(f"{name}: {line}" for line in str(error).splitlines()), todo])) from error


def make_app(aggregator: Aggregator, reviewer: Reviewer | None = None) -> web.Application:
    """The routes, over what is wired. reviewer: of agents' projected tokens, None where only static ones count."""
    app = web.Application(middlewares=[errors_as_json], client_max_size=node_hours.BODY_MAX_BYTES)
    app[state.DATABASE] = aggregator.database
    app[state.CLOCK] = aggregator.clock
    app[state.AGENTS] = Agents(
        Tokens(aggregator.settings.agent_tokens),
        clock=aggregator.clock,
        cluster=aggregator.settings.cluster,
        reviewer=reviewer,
        account=aggregator.settings.agent_account,
    )
    app[state.PUSHES] = aggregator.pushes
    app[state.PAGE] = aggregator.page
    app[state.TABLES] = aggregator.tables
    app[state.GRACE_MS] = aggregator.settings.grace
    app[state.CLUSTER] = aggregator.settings.cluster
    for room in (node_hours, statements, lines, months, budgets, quota_uses, quotas, health, pages):
        app.add_routes(room.routes)
    aiohttp_jinja2.setup(app, loader=jinja2.PackageLoader("chargeback.web"), enable_async=False)
    return app


async def serve(
    settings: Settings, clock: Clock | None = None, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until SIGTERM or SIGINT. ready: called with the URL once requests are answered."""
    spare_collector()
    clock = clock or SystemClock()
    database = await asyncio.to_thread(prepare, settings, clock)
    aggregator = Aggregator(
        settings=settings, database=database, clock=clock, tables=ClusterTables(), pushes=Pushes(), page=Page()
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with running(aggregator) as url:
            log.info("serving", extra={"url": url})
            ready(url)
            await stop.wait()
            log.info("stopping")
    finally:
        database.close()


@asynccontextmanager
async def running(aggregator: Aggregator) -> AsyncIterator[str]:
    """The server and its eternal tasks; yields the URL. If a task dies, all end and the error rises."""
    settings = aggregator.settings
    async with AsyncExitStack() as stack:
        api = await _open_api(settings, aggregator.clock, stack)
        if api is not None:
            aggregator.tables.awaited |= set(aggregator.tables.by_name()) - _given(settings)
        # A file that cannot be read is a wrong setting: say so before serving.
        noter = _noter(aggregator, api)
        read_files(
            settings.owners, settings.quotas, settings.label_keys, aggregator.tables, aggregator.clock.now_ms()
        )
        await noter.note()
        app = make_app(aggregator, TokenReviewer(api) if api is not None and settings.agent_account else None)
        app[state.OWNER_RULES] = noter.rules
        guard = _guard(settings)
        if guard is not None:
            guard.set_up(app)
        runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        tls = None if guard is None else guard.ssl_context
        site = web.TCPSite(runner, settings.listen.host, settings.listen.port, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in _work(aggregator, api, noter)]
            yield f"{'http' if tls is None else 'https'}://{host}:{port}"
            for task in tasks:
                task.cancel()


def _guard(settings: Settings) -> Guard | None:
    """Of the web config file. A push that shows a token needs no password: one header cannot carry both."""
    if settings.web_config is None:
        return None
    with_tokens = settings.agent_tokens is not None or settings.agent_account is not None

    def guards_itself(request: web.Request) -> bool:
        return with_tokens and request.method == "PUT" and request.path.startswith("/v1/node-hours/")

    return Guard(settings.web_config, guards_itself=guards_itself)


def _noter(aggregator: Aggregator, api: ClusterApi | None) -> Noter:
    settings = aggregator.settings
    asked = api if settings.owners is None else None
    noter = Noter(
        database=aggregator.database,
        cluster=settings.cluster,
        tables=aggregator.tables,
        source="file" if asked is None else "api",
        now_ms=aggregator.clock.now_ms if asked is None else asked.now_ms,
    )
    if settings.owner_rules is not None:
        noter.rules = OwnerRulesFile(settings.owner_rules).current
    return noter


def _given(settings: Settings) -> set[str]:
    """The tables that files stand in for."""
    files = {"namespaces": settings.owners, "resourcequotas": settings.quotas}
    return {name for name, file in files.items() if file is not None}


def _work(aggregator: Aggregator, api: ClusterApi | None, noter: Noter) -> Iterator[Coroutine[Any, Any, None]]:
    """The eternal tasks. Files stand in for the API's tables where they are given."""
    settings, tables, clock, database = (
        aggregator.settings,
        aggregator.tables,
        aggregator.clock,
        aggregator.database,
    )
    given = _given(settings)
    if given:
        yield keep_reading(settings.owners, settings.quotas, settings.label_keys, tables, clock)
    if api is not None:
        yield keep_following(api, tables, settings.label_keys, settings.pod_labels, clock, settings.node_keys)
    if api is not None or given:
        yield noter.keep_noting(clock)
    if api is None and settings.owners is None:
        todo = "want --owners FILE, --kubeconfig FILE or an in-cluster account"
        log.warning("nobody owns a namespace", extra={"todo": todo})
    yield keep_closing(database, clock, settings.grace)
    yield keep_tending(database, Keep(bodies_ms=settings.keep_bodies, lines_ms=settings.keep_lines), clock)
    if settings.plans is not None:
        yield keep_importing(database, settings.plans, settings.cluster, clock)
    if settings.draft_day is not None:
        yield keep_drafting(database, clock, settings.draft_day, settings.grace, settings.limits)
    yield keep_rendering(database, settings.cluster, tables, aggregator.pushes, aggregator.page, clock)


async def _open_api(settings: Settings, clock: Clock, stack: AsyncExitStack) -> ClusterApi | None:
    """The cluster's API, if it can be found. Raises ApiError where the settings need it."""
    configuration = await find_cluster(settings.kubeconfig)
    if configuration is not None:
        return await stack.enter_async_context(ClusterApi(configuration, clock))
    if settings.agent_account is not None:
        raise ApiError("--agent-account: no API to ask whose a token is: want --kubeconfig or an in-cluster account")
    return None
