"""What handlers find in the application: typed keys, set once by `chargeback/app.py`."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from chargeback.api.agents import Agents
from chargeback.clock import Clock
from chargeback.core.owners.rules import OwnerRules
from chargeback.store.database import Database
from chargeback.tasks.follow_cluster import ClusterTables
from chargeback.tasks.render_metrics import Page, Pushes

DATABASE = web.AppKey("database", Database)
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
AGENTS = web.AppKey("agents", Agents)
PUSHES = web.AppKey("pushes", Pushes)
PAGE = web.AppKey("page", Page)
TABLES = web.AppKey("tables", ClusterTables)
GRACE_MS = web.AppKey("grace_ms", int)
CLUSTER = web.AppKey("cluster", str)
# As they are now: their file is read again when it changes.
OWNER_RULES: web.AppKey[Callable[[], OwnerRules]] = web.AppKey("owner_rules")
