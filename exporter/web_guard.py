"""What a web config file does to a server: its TLS, its users, its headers. The file counts as it is now.

It is read again when it changes, as are the certificates: both can be renewed under a running server. While it is
invalid, every answer is 500: to serve as before, or without a password, would be a guess.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import ssl
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .web_config import Tls, WebConfig, WebConfigError, read_web_config

log = logging.getLogger(__name__)

# Where a request carries the name of the user that it is of; absent where nobody was asked for one.
USER = web.RequestKey("user", str)

# Known pairs are not hashed again: at cost 10 a hash takes 50 ms, and Prometheus comes every few seconds.
KNOWN_MAX = 100
# Checked where the name is nobody's, so that an answer's time does not tell whose names there are.
_NOBODY = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
_BCRYPT_BYTES_MAX = 72  # the rest of a password never counted


class Guard:
    """Stands before a server's routes.

    guards_itself  requests that show who they are to their own route: they need no password
    """

    def __init__(self, config: WebConfig, *, guards_itself: Callable[[web.Request], bool] = lambda request: False):
        self._file = config.file
        self._guards_itself = guards_itself
        self._config: WebConfig | None = config
        self._stamps = (_stamp(config.file), *_stamps(config))
        self._context = None if config.tls is None else self._fresh_context(config.tls)
        self._error = ""
        self._known: dict[bytes, None] = {}  # keyed digests of pairs that were right, the oldest first
        self._secret = secrets.token_bytes(32)
        self._hashing = asyncio.Lock()  # one hash at a time: guessing takes no more than one core

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """For the server's socket; None: plain HTTP. Whether there is TLS is settled at the start."""
        return self._context

    def set_up(self, app: web.Application) -> None:
        """Stand before all routes of an app, and sign all of its answers."""
        app.middlewares.insert(0, self._middleware())
        app.on_response_prepare.append(self._add_headers)

    def _middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            config = self._now()
            if config is None:
                return web.Response(status=500, text="the web config file is invalid: see the log\n")
            if config.users and not self._guards_itself(request):
                name = await self._user(config, request)
                if name is None:
                    wanted = {"WWW-Authenticate": "Basic"}
                    return web.Response(status=401, text="want a name and a password\n", headers=wanted)
                request[USER] = name
            return await handler(request)

        return guard

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        if self._config is not None:
            response.headers.update(self._config.headers)

    def _now(self) -> WebConfig | None:
        """The file as it is now, None while it is invalid. Takes new certificates too."""
        stamp = _stamp(self._file)  # before reading: what changes meanwhile is seen the next time
        if self._config is not None and self._stamps == (stamp, *_stamps(self._config)):
            return self._config
        try:
            self._config = config = read_web_config(self._file)
            self._stamps = (stamp, *_stamps(config))
            if self._context is not None and config.tls is not None:
                self._context = self._fresh_context(config.tls)
        except WebConfigError as error:
            if str(error) != self._error:  # once, not for each request
                log.error("web config invalid: every request is refused", extra={"error": str(error)})
            self._config, self._error = None, str(error)
            return None
        log.info("web config read again", extra={"file": str(self._file)})
        self._error = ""
        self._known.clear()
        return config

    def _fresh_context(self, tls: Tls) -> ssl.SSLContext:
        context = tls.context()
        context.sni_callback = self._take_new_certificates  # called for each handshake, with a name or without
        return context

    def _take_new_certificates(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self._now()
        if self._context is not None and self._context is not context:
            connection.context = self._context

    async def _user(self, config: WebConfig, request: web.Request) -> str | None:
        """The name that the request carries with its password, None where it does not."""
        pair = _basic(request.headers.get("Authorization", ""))
        if pair is None:
            return None
        name, password = pair
        bcrypt_hash = config.users.get(name, _NOBODY)
        text = b"\0".join((name.encode("utf-8", "surrogateescape"), bcrypt_hash.encode(), password))
        digest = hmac.digest(self._secret, text, hashlib.sha256)
        if digest in self._known:
            return name
        async with self._hashing:
            right = await asyncio.to_thread(_matches, password, bcrypt_hash)
        if not right or name not in config.users:
            return None
        self._known[digest] = None
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        return name


def _matches(password: bytes, bcrypt_hash: str) -> bool:
    """In constant time, as bcrypt compares. It takes no NUL, which no password of htpasswd's has."""
    import bcrypt

    return b"\0" not in password and bcrypt.checkpw(password[:_BCRYPT_BYTES_MAX], bcrypt_hash.encode())


def _basic(header: str) -> tuple[str, bytes] | None:
    """Name and password of `Authorization: Basic …`, None where it says nothing of the kind."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = b64decode(text.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (name.decode("utf-8", "surrogateescape"), password) if colon else None


def _stamps(config: WebConfig) -> tuple[tuple[int, int] | None, ...]:
    """When the files were last changed that a config names."""
    if config.tls is None:
        return ()
    files = (config.tls.cert_file, config.tls.key_file, config.tls.client_ca_file)
    return tuple(_stamp(file) for file in files if file is not None)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
