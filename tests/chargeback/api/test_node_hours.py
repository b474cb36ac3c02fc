"""Ingest: what is good is kept once; what cannot be true is refused by name, counted, and leaves nothing."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from sqlalchemy import select

from chargeback.api.node_hours import BODY_MAX_BYTES
from chargeback.core.hours import HOUR_MS, format_hour
from chargeback.store.evidence import bodies_of
from chargeback.store.tables import node_hour_bodies
from exporter import wire
from tests.chargeback.api.serving import serving
from tests.chargeback.store.bodies import HOUR, body, gpu, holding, instance, key_of, mig_gpu
from tests.programs import running

PATH = f"/v1/node-hours/lab/n1/{format_hour(HOUR)}"


def plain(sent: wire.NodeHour, **changes: Any) -> dict[str, Any]:
    """A body as a dict, so that it can be spoilt."""
    found: dict[str, Any] = msgspec.json.decode(wire.encode(sent))
    return found | changes


def without(sent: wire.NodeHour, name: str) -> dict[str, Any]:
    found = plain(sent)
    del found[name]
    return found


async def test_a_good_body_is_kept_and_the_same_again_is_known(tmp_path: Path) -> None:
    """The agent may have missed the first answer: the second is as good."""
    async with serving(tmp_path) as server:
        first = await server.put(body(holdings=[holding()]))
        again = await server.put(body(holdings=[holding()]))
        assert (first.status, first.json) == (200, {"seq": 1, "stored": True})
        assert (again.status, again.json) == (200, {"seq": 1, "stored": False})
        assert server.kept() == 1
        page = await server.metrics_with('chargeback_pushes_accepted_total{outcome="known"} 1.0')
        assert 'chargeback_pushes_accepted_total{outcome="stored"} 1.0' in page


async def test_a_push_that_breaks_off_leaves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An agent that is killed, a wire that is cut: no defect of the server's, and no refusal of a body."""
    async with serving(tmp_path) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", urllib.parse.urlsplit(server.url).port)
        writer.write(f"PUT {PATH} HTTP/1.1\r\nHost: lab\r\nContent-Length: 1000\r\n\r\n{{".encode())
        await writer.drain()
        writer.transport.abort()
        await writer.wait_closed()
        assert await reader.read() == b""
        assert (await server.put(body())).status == 200
        page = await server.metrics_with('chargeback_pushes_accepted_total{outcome="stored"} 1.0')
    counts = [line.split()[-1] for line in page.splitlines() if line.startswith("chargeback_pushes_refused_total{")]
    assert set(counts) == {"0.0"}
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_packed_body_is_the_same_body(tmp_path: Path) -> None:
    """Agents send gzip."""
    async with serving(tmp_path) as server:
        data = gzip.compress(wire.encode(body()))
        answer = await server.put(data, PATH, **{"Content-Encoding": "gzip"})
        assert (answer.status, answer.json["stored"]) == (200, True)
        with server.database.read() as connection:
            (kept,) = bodies_of(connection, key_of(body()))
        assert kept.gpus[0].uuid == "GPU-1"


async def test_xids_are_kept_with_the_body(tmp_path: Path) -> None:
    """Nothing is rated by them; who looks into a bill finds them."""
    async with serving(tmp_path) as server:
        assert (await server.put(body(gpus=[gpu(xids={"31": 2, "79": 1})]))).status == 200
        with server.database.read() as connection:
            kept = connection.execute(select(node_hour_bodies.c.body)).scalar_one()
    assert wire.decode(gzip.decompress(kept)).gpus[0].xids == {"31": 2, "79": 1}


async def test_names_are_percent_encoded_in_the_path(tmp_path: Path) -> None:
    """A cluster may be called by a URL or in any script."""
    async with serving(tmp_path) as server:
        sent = body("nœud 1", cluster="eu/prod+1%")
        path = f"/v1/node-hours/eu%2Fprod+1%25/n%C5%93ud%201/{format_hour(HOUR)}"
        answer = await server.put(sent, path)
        assert (answer.status, answer.json) == (200, {"seq": 1, "stored": True})


async def test_the_running_hour_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    """Clocks differ a little; more than ten minutes ahead is a wrong clock, and may be tried again."""
    now_ms = HOUR * HOUR_MS + 20 * 60_000
    async with serving(tmp_path, now_ms) as server:
        assert (await server.put(body(through=29 * 60_000, gpus=[]))).status == 200
        answer = await server.put(body(seq=2, through=31 * 60_000, gpus=[]))
        assert (answer.status, answer.json["field"]) == (425, "through")


SPOILT: dict[str, tuple[dict[str, Any] | bytes, int, str]] = {
    "garbage": (b"{nothing", 400, "body"),
    "empty": (b"", 400, "body"),
    "deep": (b"[" * 100_000, 422, "body"),
    "not UTF-8": (wire.encode(body("n?")).replace(b"?", b"\xff"), 400, "body"),
    "a list": (b"[]", 422, "body"),
    "version 2": (plain(body(), v=2), 422, "v"),
    "no version": (without(body(), "v"), 422, "body"),
    "no node": (without(body(), "node"), 422, "body"),
    "empty node": (plain(body(), node=""), 422, "node"),
    "NUL in a name": (wire.encode(body(holdings=[holding(pod="a\0b")])), 422, "body"),
    "another node than the path": (plain(body("n2")), 422, "node"),
    "another cluster than the path": (plain(body(cluster="LAB")), 422, "cluster"),
    "another hour than the path": (plain(body(hour=HOUR - 1)), 422, "hour"),
    "an hour that is none": (plain(body(), hour="2026-10-03T24Z"), 422, "hour"),
    "a day that is none": (plain(body(), hour="2026-02-30T10Z"), 422, "hour"),
    "year nought": (plain(body(), hour="0000-01-01T00Z"), 422, "hour"),
    "sequence 0": (plain(body(seq=0)), 422, "seq"),
    "sequence as a text": (plain(body(), seq="1"), 422, "seq"),
    "sequence as a fraction": (plain(body(), seq=1.5), 422, "seq"),
    "sequence beyond all reason": (plain(body(), seq=2**60), 422, "seq"),
    "negative time": (plain(body(gpus=[gpu(observed=[(-1, 5)])])), 422, "gpus[0].observed[0][0]"),
    "negative seconds": (plain(body(holdings=[holding(busy_ms=-1)])), 422, "holdings[0].busy_ms"),
    "reversed": (plain(body(gpus=[gpu(observed=[(9, 5)])])), 422, "gpus[0].observed[0]"),
    "empty interval": (plain(body(holdings=[holding(start=5, end=5)])), 422, "holdings[0]"),
    "overlapping": (plain(body(gpus=[gpu(observed=[(0, 9), (5, 20)])])), 422, "gpus[0].observed[1]"),
    "beyond the hour": (plain(body(holdings=[holding(end=HOUR_MS + 1)])), 422, "holdings[0].to"),
    "beyond through": (plain(body(through=5)), 422, "gpus[0].observed[0]"),
    "a card twice": (plain(body(gpus=[gpu(), gpu()])), 422, "gpus[1].uuid"),
    "unknown device": (plain(body(holdings=[holding("GPU-9")])), 422, "holdings[0].device"),
    "unobserved": (plain(body(gpus=[gpu(observed=[(0, 9)])], holdings=[holding(end=10)])), 422, "holdings[0]"),
    "no share": (plain(body(holdings=[holding(shares=[])])), 422, "holdings[0].shares"),
    "half a name": (plain(body(holdings=[holding(pod="")])), 422, "holdings[0].namespace"),
    "larger than its card": (plain(body(gpus=[mig_gpu()], instances=[instance(g=8)])), 422, "instances[0].g"),
    "an instance of no card": (plain(body(instances=[instance(gpu="GPU-9")])), 422, "instances[0].gpu"),
}


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_a_body_that_cannot_be_true_is_refused(tmp_path: Path, spoilt: str) -> None:
    """The status that tells the agent to set it aside, the field, a reason; counted; nothing kept."""
    data, status, field = SPOILT[spoilt]
    async with serving(tmp_path) as server:
        answer = await server.put(data, PATH)
        assert (answer.status, answer.json["field"]) == (status, field)
        assert len(answer.json["problem"]) > 5
        label = re.sub(r"\[\d+\]", "[]", field)
        await server.metrics_with(f'chargeback_pushes_refused_total{{field="{label}",status="{status}"}} 1.0')
        assert server.kept() == 0


@pytest.mark.parametrize(
    ("hours", "status", "field"),
    [(-400 * 24, 422, "hour"), (-401 * 24, 422, "hour"), (2, 425, "hour"), (24 * 365 * 100, 425, "hour")],
)
async def test_an_hour_too_old_or_yet_to_come_is_refused(tmp_path: Path, hours: int, status: int, field: str) -> None:
    """400 days back is the last that counts: bodies are kept so long."""
    async with serving(tmp_path) as server:
        answer = await server.put(body(hour=HOUR + hours, gpus=[]))
        assert (answer.status, answer.json["field"]) == (status, field)
        assert server.kept() == 0


async def test_an_hour_of_almost_400_days_ago_is_kept(tmp_path: Path) -> None:
    """A node that was in a drawer for a year."""
    async with serving(tmp_path) as server:
        assert (await server.put(body(hour=HOUR - 399 * 24))).status == 200


BOMB = gzip.compress(b" " * (BODY_MAX_BYTES * 16))


@pytest.mark.parametrize(
    ("encoding", "data", "status", "field"),
    [
        ("gzip", BOMB, 413, "body"),
        ("gzip", gzip.compress(wire.encode(body()))[:-9], 400, "body"),
        ("gzip", wire.encode(body()), 400, "body"),
        ("gzip", b"", 400, "body"),
        ("gzip", gzip.compress(wire.encode(body())) + b"more", 400, "body"),
        ("gzip", gzip.compress(wire.encode(body())) * 2, 400, "body"),
        ("br", wire.encode(body()), 400, "Content-Encoding"),
        ("gzip, gzip", wire.encode(body()), 400, "Content-Encoding"),
        ("identity", b" " * (BODY_MAX_BYTES + 1), 413, "body"),
    ],
    ids=["bomb", "cut off", "not packed", "empty", "a tail", "two members", "brotli", "packed twice", "too large"],
)
async def test_a_body_that_cannot_be_unpacked_is_refused(
    tmp_path: Path, encoding: str, data: bytes, status: int, field: str
) -> None:
    """Whatever it claims to be, no more than the limit is unpacked."""
    async with serving(tmp_path) as server:
        answer = await server.put(data, PATH, **{"Content-Encoding": encoding})
        assert (answer.status, answer.json["field"]) == (status, field)
        await server.metrics_with(f'chargeback_pushes_refused_total{{field="{field}",status="{status}"}} 1.0')
        assert server.kept() == 0


async def test_a_body_of_the_greatest_size_is_kept(tmp_path: Path) -> None:
    """White space does not matter."""
    async with serving(tmp_path) as server:
        data = wire.encode(body()).ljust(BODY_MAX_BYTES)
        assert (await server.put(data, PATH)).status == 200


@pytest.mark.parametrize("tail", [False, True], ids=["plain", "behind a gzip"])
async def test_a_body_without_end_does_not_fill_the_memory(tmp_path: Path, tail: bool) -> None:
    """200 MB in chunks: refused, and the server is no larger for it."""
    chunk = b" " * 2**20

    async def chunks() -> AsyncIterator[bytes]:
        if tail:
            yield gzip.compress(wire.encode(body()))
        for _ in range(200):
            yield chunk

    arguments = ("serve", "--data", str(tmp_path))
    with running("chargeback.cli.main", *arguments, log=tmp_path / "log") as program:
        before_kib = _peak_kib(program.process.pid)
        headers = {"Content-Encoding": "gzip"} if tail else {}
        async with (
            aiohttp.ClientSession() as session,
            session.put(program.url + PATH, data=chunks(), headers=headers) as answer,
        ):
            found = await answer.json()
        assert (answer.status, found["field"]) == ((400, "body") if tail else (413, "body"))
        assert _peak_kib(program.process.pid) - before_kib < 64 * 1024
        assert program.get("/healthz") == b"ok\n"


def _peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(peak)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer wrong", 401),
        ("Bearer wr\udcc3\udca9ng", 401),
        ("Basic c2VjcmV0", 401),
        ("secret", 401),
        ("Bearer secret", 200),
        ("bearer  secret ", 200),
    ],
)
async def test_only_who_has_a_token_may_push(tmp_path: Path, header: str | None, status: int) -> None:
    """Tokens lie in the file as hashes; a refusal says how to ask."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"# agents\n\nlab {hashlib.sha256(b'secret').hexdigest()}\n")
    async with serving(tmp_path, agent_tokens=str(tokens)) as server:
        answer = await server.put(body(), **({} if header is None else {"Authorization": header}))
        assert answer.status == status
        assert server.kept() == (1 if status == 200 else 0)
        if status == 401:
            assert answer.json["field"] == "Authorization"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert (await server.get("/v1/costs?from=2026-10-01&until=2026-10-02")).status == 200


async def test_a_token_can_be_rotated_while_the_server_runs(tmp_path: Path) -> None:
    """A file that is being written is not taken in by halves."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"lab {hashlib.sha256(b'old').hexdigest()}\n")
    async with serving(tmp_path, agent_tokens=str(tokens)) as server:
        for broken in (b"lab 12", b"\xff\xfe", b""):
            tokens.write_bytes(broken)
            assert (await server.put(body(), Authorization="Bearer old")).status == 200
        tokens.write_text(f"lab {hashlib.sha256(b'new').hexdigest()}\n")
        assert (await server.put(body(), Authorization="Bearer old")).status == 401
        assert (await server.put(body(), Authorization="Bearer new")).status == 200
        tokens.unlink()
        assert (await server.put(body(), Authorization="Bearer new")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/node-hours/lab/n1", 404),
        ("POST", PATH, 405),
        ("GET", "/v2", 404),
        ("GET", "/v1/node-hours/lab/n1/../../../../etc/passwd", 404),
    ],
)
async def test_paths_that_are_none_are_said_to_be_none(tmp_path: Path, method: str, path: str, status: int) -> None:
    """As JSON, and a wrong method says which is right."""
    async with serving(tmp_path) as server:
        answer = await server.request(method, path)
        assert (answer.status, answer.json["field"]) == (status, "path")
        if status == 405:
            assert "PUT" in answer.headers["Allow"]


async def test_an_hour_that_is_yet_to_come_may_be_tried_again(tmp_path: Path) -> None:
    """425 and the field: the agent's clock, or ours, is wrong and will be mended."""
    async with serving(tmp_path) as server:
        answer = await server.put(body(hour=HOUR + 3, gpus=[], through=1))
        assert (answer.status, answer.json["field"]) == (425, "hour")
        assert server.kept() == 0
