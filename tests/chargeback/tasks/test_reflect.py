"""A table that follows the API: what it holds, what it says has come and gone, and since when that is certain."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from chargeback.cluster.api import ApiError, ClusterApi, Expired, NotServed
from chargeback.cluster.kind import Kind
from chargeback.cluster.node_objects import NodeObject, to_node
from chargeback.core.nodes import Node
from chargeback.tasks.follow_cluster import ClusterTables
from chargeback.tasks.reflect import CATCH_UP_MS, END_MS, Changes, Gone, Table, keep_reflecting, reflect
from tests.chargeback.api.serving import SetClock

LISTED, LATER = 1_000_000, 1_060_000


def filled(**items: str) -> Table[str]:
    table: Table[str] = Table(tells=True)
    table.replace(dict(items), LISTED)
    table.take()
    return table


def test_a_first_list_is_all_news() -> None:
    """And it says that it is all there is."""
    table: Table[str] = Table(tells=True)
    assert table.read_ms is None
    table.replace({"u1": "a", "u2": "b"}, LISTED)
    assert (table.read_ms, table.values()) == (LISTED, ["a", "b"])
    assert table.take() == Changes({"u1": "a", "u2": "b"}, {}, True)
    assert table.take() == Changes({}, {}, False)


def test_a_list_after_an_absence_tells_the_differences() -> None:
    """What is gone went some time since the table was last whole."""
    table = filled(u1="a", u2="b", u3="c")
    table.replace({"u2": "b", "u3": "C", "u4": "d"}, LATER)
    assert table.take() == Changes({"u3": "C", "u4": "d"}, {"u1": Gone("a", LISTED, LATER)}, True)
    assert table.items == {"u2": "b", "u3": "C", "u4": "d"}


def test_only_what_differs_is_a_change() -> None:
    """A status that says nothing of what we follow wakes nobody; but the table is as new as what was said."""
    table = filled(u1="a")
    woken: list[int] = []
    table.wake = lambda: woken.append(1)
    table.put("u1", "a", LATER)
    table.put("u9", None, LATER + 1)
    assert (table.take(), woken, table.read_ms) == (Changes({}, {}, False), [], LATER + 1)
    table.put("u1", "A", LATER + 2)
    assert (table.take(), woken) == (Changes({"u1": "A"}, {}, False), [1])


def test_an_object_that_goes_tells_how_it_was_at_its_end() -> None:
    """A pod's last state says when it finished."""
    table = filled(u1="a")
    table.put("u1", "A", LATER)
    table.remove("u1", "finished", LATER, LATER + 5)
    assert table.take() == Changes({}, {"u1": Gone("finished", LATER, LATER + 5)}, False)
    assert table.items == {}
    table.remove("u1", None, LATER, LATER + 6)
    assert table.take() == Changes({}, {}, False)


def test_an_object_that_came_and_went_between_two_looks_is_told() -> None:
    table = filled()
    table.put("u1", "a", LATER)
    table.remove("u1", None, LATER + 1, LATER + 2)
    assert table.take() == Changes({}, {"u1": Gone("a", LATER + 1, LATER + 2)}, False)


def test_what_could_not_be_noted_is_told_again_with_what_came_since() -> None:
    """The newer word wins, and what went meanwhile is gone."""
    table = filled(u1="a", u2="b", u3="c", u4="d")
    table.put("u1", "A", LATER)
    table.put("u2", "B", LATER)
    table.put("u3", "C", LATER)
    table.remove("u4", None, LATER, LATER)
    taken = table.take()
    table.put("u2", "B2", LATER + 1)
    table.remove("u3", "C3", LATER + 1, LATER + 2)
    table.untake(taken)
    assert table.take() == Changes(
        {"u1": "A", "u2": "B2"}, {"u3": Gone("C3", LATER + 1, LATER + 2), "u4": Gone("d", LATER, LATER)}, False
    )


def test_what_nobody_takes_is_not_kept() -> None:
    """Claims and refusals come and go for months; only of pods somebody asks what is gone."""

    class Thing:
        pass

    kept: list[str] = []
    for name, table in ClusterTables().by_name().items():
        thing = Thing()
        there = weakref.ref(thing)
        table.put("u1", thing, LISTED)
        table.remove("u1", None, LISTED, LATER)
        del thing
        if there() is not None:
            kept.append(name)
    assert kept == ["pods"]


def test_that_a_list_was_whole_is_not_forgotten() -> None:
    table = filled()
    table.replace({"u1": "a"}, LATER)
    taken = table.take()
    table.untake(taken)
    assert table.take() == taken


# Against a server that speaks as the API does.


class Turns:
    """A clock that never waits, remembers for how long it should have, and ends it all after so many times."""

    def __init__(self, times: int) -> None:
        self.slept_s: list[float] = []
        self._times = times

    def now_ms(self) -> int:
        return LISTED

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        if len(self.slept_s) == self._times:
            raise asyncio.CancelledError


@dataclass(slots=True)
class Nodes:
    """Serves lists and watches of nodes from a script.

    table    that takes what is served: each event is sent when the one before was taken
    watches  what each says, with the ms that pass before; None: nothing, it ends
    """

    clock: SetClock
    table: Table[Node]
    there: list[str] = field(default_factory=list)
    list_takes_ms: int = 0
    watches: list[list[tuple[int, dict[str, Any] | None]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        date = {"Date": formatdate(self.clock.at_ms / 1000, usegmt=True)}
        if "watch" not in request.query:
            self.asked.append("list")
            self.clock.at_ms += self.list_takes_ms
            items = [node(name) for name in self.there]
            return web.json_response({"items": items, "metadata": {"resourceVersion": "7"}}, headers=date)
        self.asked.append(f"watch {request.query['resourceVersion']}")
        response = web.StreamResponse(headers=date)
        await response.prepare(request)
        before = request.query["resourceVersion"]
        for passed_ms, event in self.watches.pop(0):
            while self.table.version != before or self.table.lack:
                await asyncio.sleep(0.001)
            self.clock.at_ms += passed_ms
            if event is None:
                break
            await response.write(json.dumps(event).encode() + b"\n")
            before = event["object"].get("metadata", {}).get("resourceVersion")
        return response


def node(name: str, version: str = "7", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": version}, "spec": spec}


def event(kind: str, name: str, version: str, **spec: Any) -> dict[str, Any]:
    return {"type": kind, "object": node(name, version, **spec)}


KIND: Kind[Node] = Kind(name="nodes", path="/api/v1/nodes", of=NodeObject, read=to_node)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Nodes, ClusterApi]]:
    clock = SetClock(LISTED)
    nodes = Nodes(clock, Table(tells=True))
    app = web.Application()
    app.router.add_get("/api/v1/nodes", nodes.answer)
    app.router.add_get("/apis/older.example", group)
    async with TestServer(app) as server:
        configuration = client.Configuration()
        configuration.host = str(server.make_url("")).rstrip("/")
        async with ClusterApi(configuration, clock) as api:
            yield nodes, api


async def group(_: web.Request) -> web.Response:
    """A group that is there, in another version than ours."""
    return web.json_response({"kind": "APIGroup", "versions": [{"version": "v1beta1"}]})


def names(changes: Changes[Node]) -> tuple[list[str], dict[str, tuple[int, int]], bool]:
    gone = {each.value.name: (each.known_ms, each.gone_ms) for each in changes.gone.values()}
    return sorted(value.name for value in changes.changed.values()), gone, changes.listed


async def test_list_then_watch_from_its_version(served: tuple[Nodes, ClusterApi]) -> None:
    nodes, api = served
    table = nodes.table
    nodes.there = ["n1", "n2"]
    nodes.watches = [[(0, event("ADDED", "n3", "8")), (0, event("MODIFIED", "n1", "9", unschedulable=True))], []]
    await reflect(api, KIND, table)
    assert names(table.take()) == (["n1", "n2", "n3"], {}, True)
    assert table.items["uid-n1"].cordoned
    await reflect(api, KIND, table)
    assert nodes.asked == ["list", "watch 7", "watch 9"]


async def test_a_list_is_as_old_as_its_asking(served: tuple[Nodes, ClusterApi]) -> None:
    """What came while its pages did is not in it: nobody may be taken for gone who was bound since."""
    nodes, api = served
    table = nodes.table
    nodes.list_takes_ms = 20_000
    nodes.watches = [[]]
    await reflect(api, KIND, table)
    assert table.read_ms == LISTED


async def test_what_a_watch_says_first_may_have_happened_since_it_broke(served: tuple[Nodes, ClusterApi]) -> None:
    """After a reconnect the server tells again what was missed; what it says later has just happened."""
    nodes, api = served
    table = nodes.table
    nodes.there = ["n1", "n2", "n3"]
    nodes.watches = [[(0, event("ADDED", "n4", "8"))]]
    await reflect(api, KIND, table)
    table.take()
    nodes.clock.at_ms = LATER
    nodes.watches = [
        [
            (0, event("DELETED", "n1", "9")),
            (10, event("ADDED", "n5", "10")),
            (10, event("DELETED", "n2", "11")),
            (CATCH_UP_MS, event("DELETED", "n3", "12")),
        ]
    ]
    await reflect(api, KIND, table)
    changed, gone, listed = names(table.take())
    assert (changed, listed) == (["n5"], False)
    assert {name: known for name, (known, _) in gone.items()} == {"n1": LISTED, "n2": LISTED, "n3": gone["n3"][1]}
    assert gone["n3"][1] == LATER + CATCH_UP_MS + 20
    assert set(table.items) == {"uid-n4", "uid-n5"}


async def test_a_bookmark_says_that_there_was_nothing_else(served: tuple[Nodes, ClusterApi]) -> None:
    nodes, api = served
    table = nodes.table
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "55"}}}
    nodes.watches = [[(30_000, bookmark)]]
    await reflect(api, KIND, table)
    assert (table.version, table.read_ms) == ("55", LISTED + 30_000)
    assert names(table.take()) == ([], {}, True)


async def test_a_watch_that_ends_in_its_time_says_that_there_was_nothing_else(
    served: tuple[Nodes, ClusterApi],
) -> None:
    """A quiet kind may get no bookmark. One that ends at once says nothing: its server may be on its way out."""
    nodes, api = served
    table = nodes.table
    nodes.watches = [[(CATCH_UP_MS - 1, None)], [(60_000, None)]]
    await reflect(api, KIND, table)
    assert table.read_ms == LISTED
    table.lack = "it was away"
    await reflect(api, KIND, table)
    assert (table.version, table.lack) == ("7", None)
    assert table.read_ms == LISTED + CATCH_UP_MS - 1 + 60_000 - END_MS


async def test_a_server_that_ends_every_watch_at_once_is_not_asked_without_a_pause(
    served: tuple[Nodes, ClusterApi],
) -> None:
    """As a proxy does that cannot stream."""
    nodes, api = served
    nodes.watches = [[] for _ in range(100)]
    turns = Turns(6)
    with pytest.raises(asyncio.CancelledError):
        await keep_reflecting(api, KIND, nodes.table, turns)
    assert nodes.asked == ["list", *["watch 7"] * 7]  # what was listed is news, and is not waited after
    assert sum(turns.slept_s) > 10


async def test_a_version_that_the_server_forgot(served: tuple[Nodes, ClusterApi]) -> None:
    """What was said before stays, and the table lists again."""
    nodes, api = served
    table = nodes.table
    nodes.there = ["n1"]
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
    nodes.watches = [[(0, event("ADDED", "n2", "8")), (0, gone)], []]
    with pytest.raises(Expired, match="too old"):
        await reflect(api, KIND, table)
    assert set(table.items) == {"uid-n1", "uid-n2"}
    table.take()
    table.version = None
    nodes.clock.at_ms = LATER
    await reflect(api, KIND, table)
    assert names(table.take()) == ([], {"n2": (LISTED, LATER)}, True)


async def test_an_api_that_is_away_leaves_the_table_as_it_was(served: tuple[Nodes, ClusterApi]) -> None:
    nodes, api = served
    table = nodes.table
    nodes.there = ["n1"]
    nodes.watches = [[(0, {"type": "ERROR", "object": {"code": 500, "message": "etcd is away"}})]]
    with pytest.raises(ApiError, match="etcd is away"):
        await reflect(api, KIND, table)
    assert (list(table.items), table.version) == (["uid-n1"], "7")


async def test_a_kind_that_the_server_does_not_have_is_there_in_no_number(served: tuple[Nodes, ClusterApi]) -> None:
    """Unless it has the group in another version, which may well have some; or it had the kind before."""
    nodes, api = served
    absent, older = (replace(KIND, path=f"/apis/{name}.example/v1/nodes") for name in ("no", "older"))
    with pytest.raises(NotServed):
        await api.list_all(absent)
    with pytest.raises(ApiError, match="404") as raised:
        await api.list_all(older)
    assert not isinstance(raised.value, NotServed)
    known: Table[Node] = Table(items={"u": to_node(msgspec.convert(node("n1"), NodeObject))}, read_ms=LISTED)
    for kind, table in ((absent, nodes.table), (absent, known), (older, Table[Node]())):
        with pytest.raises(asyncio.CancelledError):
            await keep_reflecting(api, kind, table, Turns(1))
        lacks = table.lack is not None and "404 Not Found" in table.lack
        assert (table.read_ms is None, lacks, len(table.items)) == (kind is older, kind is older, table is known)
