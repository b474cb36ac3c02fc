"""Months over HTTP: what people read of them, and how one approves a draft."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import bcrypt
import pytest

from chargeback.months.close import close
from tests.chargeback.api.serving import Answer, Server, serving
from tests.chargeback.store.a_month import MONTH, NOW_MS, draft, fill

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A month that could be drafted."""
    async with serving(tmp_path, NOW_MS) as server:
        await asyncio.to_thread(fill, server.database)
        yield server


async def approve(server: Server, said: object, **headers: str) -> Answer:
    return await server.request(
        "POST", f"/v1/months/{MONTH}/approve", json.dumps(said).encode(), **({**JSON, **headers})
    )


async def test_a_month_is_read_and_approved(server: Server) -> None:
    """From the list to the statement; each answer has what the next step needs."""
    assert (await server.get("/v1/months")).json == {
        "months": [{"month": MONTH, "state": "open", "draft": None, "waiting": 0}]
    }
    assert (await server.get(f"/v1/months/{MONTH}")).json["newest_draft"] is None
    await asyncio.to_thread(draft, server.database)
    found = (await server.get(f"/v1/months/{MONTH}")).json
    newest = found["newest_draft"]
    assert (found["state"], newest["lines"], newest["amount"]) == ("draft", 5, "12.000000")
    assert (newest["prepared_by"], newest["findings"]) == ("ann", [])
    hours = {"observed_hours": "4.000000", "api_hours": "0.000000", "gap_hours": "0.000000"}
    assert newest["coverage"][0] == {"cluster": "lab", "node": None, **hours}
    answer = await approve(server, {"who": "bob", "draft": newest["draft"], "sha256": newest["sha256"]})
    assert (answer.status, answer.json["state"], answer.json["approved_by"]) == (200, "approved", "bob")
    before = (await server.get(f"/v1/statements/{MONTH}")).json
    assert (before["state"], before["amount"], before["accounts"]) == ("approved", None, [])
    await asyncio.to_thread(close, server.database, MONTH, "ann", NOW_MS)
    stated = (await server.get(f"/v1/statements/{MONTH}")).json
    assert (stated["state"], stated["amount"], stated["approved_by"]) == ("closed", "12.000000", "bob")
    assert [(each["account"], each["amount"]) for each in stated["accounts"]] == [
        ("cc-a", "6.000000"),
        ("cc-b", "1.500000"),
        ("platform:discount", "1.500000"),
        ("platform:idle", "3.000000"),
    ]
    links = [(each["previous_sha256"], each["sha256"]) for each in stated["accounts"]]
    assert [before for before, _ in links] == ["0" * 64, *(after for _, after in links[:-1])]
    served = (await server.get(f"/v1/statements/{MONTH}.csv")).body
    assert served.count(b",closed,") == 4


async def test_what_cannot_be_approved_is_said(server: Server) -> None:
    """By field, with what is wanted; nothing is approved by it."""
    said = {"who": "bob", "draft": 1, "sha256": "00"}
    assert (await approve(server, said)).status == 409
    made = await asyncio.to_thread(draft, server.database)
    right = said | {"sha256": made.digest.sha256}
    for wrong, status, field in (
        (said, 409, "month"),
        (right | {"draft": 2}, 409, "month"),
        (right | {"who": " "}, 400, "who"),
        (right | {"whom": "x"}, 400, "body"),
        ({"who": "bob"}, 400, "body"),
    ):
        answer = await approve(server, wrong)
        assert (answer.status, answer.json["field"]) == (status, field), answer.json
    assert (await approve(server, right, **{"Content-Type": "text/plain"})).status == 415
    assert (await server.get(f"/v1/months/{MONTH}")).json["state"] == "draft"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
async def test_who_comes_through_a_proxy_is_not_of_this_host(server: Server, header: str) -> None:
    """A proxy beside the server, as in a sidecar, reaches it by the loopback, whoever it speaks for."""
    made = await asyncio.to_thread(draft, server.database)
    said = {"who": "bob", "draft": made.draft, "sha256": made.digest.sha256}
    answer = await approve(server, said, **{header: "for=192.0.2.7" if header == "Forwarded" else "192.0.2.7"})
    assert (answer.status, answer.json["field"]) == (403, "who")
    assert (await server.get(f"/v1/months/{MONTH}")).json["state"] == "draft"


@pytest.mark.parametrize(
    "path", ["/v1/months/2026-13", "/v1/statements/x", "/v1/months/2020-01", "/v1/statements/2020-01"]
)
async def test_what_is_no_month_of_the_ledger_is_said(server: Server, path: str) -> None:
    answer = await server.get(path)
    assert (answer.status, answer.json["field"]) == (404 if "2020" in path else 400, "month")


async def test_the_person_is_who_has_logged_in(tmp_path: Path) -> None:
    """Whoever asks cannot approve in another's name."""
    hashed = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
    config = tmp_path / "web.yaml"
    config.write_text(f"basic_auth_users: {{bob: '{hashed}'}}\n")
    async with serving(tmp_path, NOW_MS, web_config=str(config)) as server:
        await asyncio.to_thread(fill, server.database)
        made = await asyncio.to_thread(draft, server.database)
        said = {"draft": made.draft, "sha256": made.digest.sha256}
        assert (await approve(server, {**said, "who": "bob"})).status == 401
        headers = {"Authorization": "Basic " + b64encode(b"bob:sesame").decode()}
        answer = await approve(server, {**said, "who": "eve"}, **headers)
        assert (answer.status, answer.json["problem"]) == (403, "'eve': want 'bob', who has logged in")
        answer = await approve(server, said, **headers)
        assert (answer.status, answer.json["approved_by"]) == (200, "bob")
