"""Certificates for tests, made by openssl: an authority, a server on loopback, a client, and a stranger's client.

folder = make_certificates(tmp_path)
folder / "ca.crt", "server.crt", "server.key", "client.crt", "client.key", "stranger.crt", "stranger.key"
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def make_certificates(folder: Path) -> Path:
    """Write them into a folder, and return it."""
    for name in ("ca", "other-ca"):
        _openssl(
            folder, *("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key"), "-out", f"{name}.crt"
        )
    make_server(folder)
    _signed(folder, "client", "ca", "extendedKeyUsage=clientAuth")
    _signed(folder, "stranger", "other-ca", "extendedKeyUsage=clientAuth")
    return folder


def make_server(folder: Path) -> None:
    """A server's certificate, or another one in its place."""
    _signed(folder, "server", "ca", "subjectAltName=IP:127.0.0.1,DNS:localhost")


def _signed(folder: Path, name: str, authority: str, extension: str) -> None:
    by = ("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key")
    files = ("-keyout", f"{name}.key", "-out", f"{name}.crt")
    _openssl(folder, "req", "-x509", *_KEY, "-subj", f"/CN={name}", *by, "-addext", extension, *files)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
