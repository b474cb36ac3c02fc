"""A web config file on a listener: real TLS, real bcrypt, files that change under the server."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from aiohttp import web

from exporter.web_config import read_web_config
from exporter.web_guard import Guard
from tests.certificates import make_certificates, make_server

PAIR = "cert_file: server.crt, key_file: server.key"
HASHED = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def written(folder: Path, text: str) -> Path:
    """Write the file, later than anything before it: renames and seconds apart, as editors and kubelets do."""
    file = folder / "web.yaml"
    fresh = folder / "web.yaml.new"
    fresh.write_text(text)
    os.replace(fresh, file)
    return file


@asynccontextmanager
async def serving(guard: Guard) -> AsyncIterator[str]:
    """A server of one page behind the guard; yields its URL."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="page")

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_put("/own", page)
    guard.set_up(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=guard.ssl_context).start()
    scheme = "http" if guard.ssl_context is None else "https"
    try:
        yield f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def trusting(folder: Path, client: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    if client:
        context.load_cert_chain(folder / f"{client}.crt", folder / f"{client}.key")
    return context


def login(auth: tuple[str, str] | None) -> dict[str, str]:
    return {} if auth is None else {"Authorization": aiohttp.encode_basic_auth(*auth)}


async def status_of(url: str, *, auth: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None) -> int:
    """The status of a new connection's request."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=login(auth), ssl=tls or True) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        (("prometheus", "sesame"), 200),
        (("prometheus", "Sesame"), 401),
        (("prometheus", ""), 401),
        (("nobody", "sesame"), 401),
        (("nobody", "fakepassword"), 401),  # the password of the hash that stands in for nobody's
        (("prometheus", "sesame\0"), 401),
        (("prometheus", "sesame" * 100), 401),
        (None, 401),
    ],
)
async def test_names_and_passwords(tmp_path: Path, auth: tuple[str, str] | None, status: int) -> None:
    """Twice each: what is remembered of the first time changes nothing."""
    guard = Guard(read_web_config(written(tmp_path, f"basic_auth_users: {{prometheus: {HASHED}}}")))
    async with serving(guard) as url:
        assert [await status_of(url, auth=auth) for _ in range(2)] == [status] * 2


@pytest.mark.parametrize("header", ["", "Basic", "Basic !!", "Basic c2VzYW1l", "Bearer cHJvbWV0aGV1czpzZXNhbWU="])
async def test_headers_that_say_nothing(tmp_path: Path, header: str) -> None:
    """And the answer says what is wanted."""
    guard = Guard(read_web_config(written(tmp_path, f"basic_auth_users: {{prometheus: {HASHED}}}")))
    async with (
        serving(guard) as url,
        aiohttp.ClientSession() as session,
        session.get(url, headers={"Authorization": header}) as answer,
    ):
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Basic"


async def test_a_password_is_hashed_once(tmp_path: Path) -> None:
    """At a cost that takes a second, a hundred scrapes would else take two minutes."""
    slow = bcrypt.hashpw(b"sesame", bcrypt.gensalt(11)).decode()
    guard = Guard(read_web_config(written(tmp_path, f"basic_auth_users: {{prometheus: {slow}}}")))
    async with serving(guard) as url:
        used: list[float] = []
        for count in (1, 20):
            started = time.process_time()
            for _ in range(count):
                assert await status_of(url, auth=("prometheus", "sesame")) == 200
            used.append(time.process_time() - started)
        assert used[1] < 5 * used[0]  # 20 hashes would be 20 times as much


async def test_users_change_under_the_server(tmp_path: Path) -> None:
    guard = Guard(read_web_config(written(tmp_path, f"basic_auth_users: {{prometheus: {HASHED}}}")))
    async with serving(guard) as url:
        assert await status_of(url, auth=("prometheus", "sesame")) == 200
        written(tmp_path, f"basic_auth_users: {{grafana: {HASHED}}}")
        assert await status_of(url, auth=("prometheus", "sesame")) == 401
        assert await status_of(url, auth=("grafana", "sesame")) == 200


async def test_an_invalid_file_refuses_everybody_until_it_is_mended(tmp_path: Path) -> None:
    guard = Guard(read_web_config(written(tmp_path, f"basic_auth_users: {{prometheus: {HASHED}}}")))
    async with serving(guard) as url:
        written(tmp_path, "basic_auth_users: {prometheus: secret}")
        assert await status_of(url, auth=("prometheus", "sesame")) == 500
        (tmp_path / "web.yaml").unlink()
        assert await status_of(url, auth=("prometheus", "sesame")) == 500
        written(tmp_path, f"basic_auth_users: {{prometheus: {HASHED}}}")
        assert await status_of(url, auth=("prometheus", "sesame")) == 200


async def test_headers_are_on_every_answer(tmp_path: Path) -> None:
    """Those of errors and refusals too."""
    text = f"http_server_config: {{headers: {{X-Frame-Options: deny}}}}\nbasic_auth_users: {{prometheus: {HASHED}}}"
    guard = Guard(read_web_config(written(tmp_path, text)))
    known = ("prometheus", "sesame")
    async with serving(guard) as url, aiohttp.ClientSession() as session:
        for path, auth, status in (("/", known, 200), ("/none", known, 404), ("/", None, 401)):
            async with session.get(url + path, headers=login(auth)) as answer:
                assert (answer.status, answer.headers["X-Frame-Options"]) == (status, "deny")


async def test_a_route_that_guards_itself_needs_no_password(tmp_path: Path) -> None:
    config = read_web_config(written(tmp_path, f"basic_auth_users: {{prometheus: {HASHED}}}"))
    guard = Guard(config, guards_itself=lambda request: request.method == "PUT")
    async with serving(guard) as url, aiohttp.ClientSession() as session:
        async with session.put(url + "/own") as answer:
            assert answer.status == 200
        assert await status_of(url) == 401


async def test_tls(certificates: Path) -> None:
    """To who trusts the authority, and to nobody in the clear."""
    guard = Guard(read_web_config(written(certificates, f"tls_server_config: {{{PAIR}}}")))
    async with serving(guard) as url:
        assert await status_of(url, tls=trusting(certificates)) == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status_of(url)
        with pytest.raises(aiohttp.ClientError):
            await status_of(url.replace("https", "http"))


@pytest.mark.parametrize(
    ("wanted", "client", "fine"),
    [
        ("RequireAndVerifyClientCert", "client", True),
        ("RequireAndVerifyClientCert", "stranger", False),
        ("RequireAndVerifyClientCert", "", False),
        ("VerifyClientCertIfGiven", "client", True),
        ("VerifyClientCertIfGiven", "stranger", False),
        ("VerifyClientCertIfGiven", "", True),
    ],
)
async def test_certificates_of_clients(certificates: Path, wanted: str, client: str, fine: bool) -> None:
    text = f"tls_server_config: {{{PAIR}, client_auth_type: {wanted}, client_ca_file: ca.crt}}"
    config = read_web_config(written(certificates, text))
    assert config.admits_strangers is (wanted != "RequireAndVerifyClientCert")
    async with serving(Guard(config)) as url:
        if fine:
            assert await status_of(url, tls=trusting(certificates, client)) == 200
        else:
            with pytest.raises((aiohttp.ClientError, OSError)):
                await status_of(url, tls=trusting(certificates, client))


async def test_a_renewed_certificate_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    """Also where no request has come since, for an expired one would let none in."""
    make_certificates(tmp_path)
    guard = Guard(read_web_config(written(tmp_path, f"tls_server_config: {{{PAIR}}}")))
    async with serving(guard) as url:
        port = int(url.rpartition(":")[2])

        def shown() -> str:
            return ssl.get_server_certificate(("127.0.0.1", port))

        first = await asyncio.to_thread(shown)
        make_server(tmp_path)
        second = await asyncio.to_thread(shown)
        assert first != second
        assert second.strip() == (tmp_path / "server.crt").read_text().strip()
        assert await status_of(url, tls=trusting(tmp_path)) == 200
