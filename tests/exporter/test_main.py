"""Starting `gpu-exporter` in little memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from exporter import VERSION

ROOT = Path(__file__).parents[2]


def said_by(code: str, **env: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT")}
    ended = subprocess.run(command, cwd=ROOT, env=inherited | env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_no_library_is_loaded_that_the_agent_can_do_without() -> None:
    """Each of them was measured: docs/footprint.md."""
    code = """
import sys
from exporter.__main__ import main
sys.argv = ["gpu-exporter", "--beat", "never"]
assert main() == 2
import exporter.kubelet, exporter.unary_call, exporter.podresources_pb2, exporter.nvml
print(*sorted(sys.modules))
"""
    heavy = {
        "importlib.metadata",
        "grpc",
        "prometheus_client",
        "yaml",
        "bcrypt",
        "sqlalchemy",
        "kubernetes",
        "pydantic",
        "click",
        "rich",
    }
    assert not heavy & set(said_by(code).split())


def test_authorities_are_left_out_of_aiohttp_and_of_nothing_else() -> None:
    """Who sets SSL_CERT_FILE keeps it; who makes a context afterwards has them all."""
    code = """
import os, ssl, sys
from exporter.__main__ import main
sys.argv = ["gpu-exporter", "--beat", "never"]
main()
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509_ca"])
print(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
"""
    assert said_by(code, SSL_CERT_FILE="/some/file.pem").splitlines() == ["0", "/some/file.pem None"]


def test_the_version_is_that_of_the_package() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
