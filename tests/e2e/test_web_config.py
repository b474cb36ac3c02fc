"""Both programs behind web config files: TLS and users, and an agent that pushes through them with its token."""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError

import bcrypt
import pytest

from chargeback.config import SettingsError
from chargeback.config import read_settings as aggregator_settings
from exporter.config import read_settings as agent_settings
from tests.certificates import make_certificates
from tests.programs import free_port, wait_for

TOKEN = "push-token"
LOGIN = ("prometheus", "sesame")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates, a web config with TLS and one user, and the agents' token."""
    folder = make_certificates(tmp_path_factory.mktemp("web"))
    hashed = bcrypt.hashpw(LOGIN[1].encode(), bcrypt.gensalt(4)).decode()
    tls = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
    (folder / "web.yaml").write_text(f"{tls}basic_auth_users: {{{LOGIN[0]}: {hashed}}}\n")
    (folder / "tls-only.yaml").write_text(tls)
    (folder / "token").write_text(TOKEN)
    (folder / "tokens").write_text(f"agents {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    return folder


def fetch(folder: Path, url: str, *, login: tuple[str, str] | None = LOGIN, method: str = "GET") -> tuple[int, str]:
    """Status and text; 0 where nobody answers."""
    request = urllib.request.Request(url, method=method)
    if login is not None:
        request.add_header("Authorization", "Basic " + b64encode(":".join(login).encode()).decode())
    try:
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except (URLError, ConnectionError, TimeoutError):
        return 0, ""


@contextmanager
def program(folder: Path, module: str, *arguments: str) -> Iterator[str]:
    """Start a program that serves TLS; yields its URL once it is ready."""
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    command = [sys.executable, "-m", module, *arguments, "--listen", f"127.0.0.1:{port}"]
    with (folder / f"{module}.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | {"SSL_CERT_FILE": str(folder / "ca.crt")}
        )
    try:
        wait_for(f"{module} ready", lambda: fetch(folder, f"{url}/readyz")[0] == 200)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def test_an_agent_pushes_through_tls_and_both_ask_for_a_password(folder: Path, tmp_path: Path) -> None:
    """A push shows its token instead of a password; nothing else gets in without one."""
    web = str(folder / "web.yaml")
    aggregator = ("serve", "--data", str(tmp_path / "data"), "--agent-tokens", str(folder / "tokens"))
    agent = ("--simulate", "--node", "n1", "--beat", "1s", "--push-token-file", str(folder / "token"))
    with (
        program(folder, "chargeback.cli.main", *aggregator, "--web-config", web) as url,
        program(folder, "exporter", *agent, "--push", url, "--web.config.file", web) as agent_url,
    ):
        taken = 'gpu_exporter_pushes_total{result="taken"} '
        wait_for(
            "a push taken",
            lambda: taken in (page := fetch(folder, f"{agent_url}/metrics")[1]) and f"{taken}0" not in page,
        )
        for each in (f"{url}/metrics", f"{url}/v1/costs", f"{url}/readyz", f"{agent_url}/metrics"):
            assert fetch(folder, each, login=None)[0] == 401, each
            assert fetch(folder, each, login=("prometheus", "wrong"))[0] == 401, each
        hour = f"{url}/v1/node-hours/default/n1/2026-11-01T00Z"
        assert fetch(folder, hour, login=None, method="PUT")[0] == 401


def test_a_file_that_lets_strangers_in_guards_no_aggregator(folder: Path) -> None:
    """Beyond loopback TLS alone is not enough; a user is."""
    with pytest.raises(SettingsError, match="beyond loopback anybody could push"):
        aggregator_settings({"listen": "0.0.0.0:1", "web-config": str(folder / "tls-only.yaml")}, {})
    guarded = aggregator_settings({"listen": "0.0.0.0:1", "web-config": str(folder / "web.yaml")}, {})
    assert guarded.web_config is not None


@pytest.mark.parametrize("read", [aggregator_settings, agent_settings])
def test_a_wrong_file_is_a_wrong_setting(tmp_path: Path, read: object) -> None:
    """Each of its problems comes with the other settings'."""
    file = tmp_path / "web.yaml"
    file.write_text("basic_auth_users: {a: b}\nhttp3: on\n")
    with pytest.raises(ValueError, match="want a bcrypt hash") as caught:
        read({"web-config": str(file), "listen": "here"}, {})  # type: ignore[operator]
    said = str(caught.value)
    assert "http3: not a key" in said
    assert "--listen='here': want HOST:PORT" in said
