"""Who may push: bearer tokens, kept as SHA-256 hashes in a file of `name sha256` lines."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from aiohttp import web

from chargeback.api.errors import BadRequest

_LINE = re.compile(r"(?P<name>[\w.-]+)\s+(?P<sha256>[0-9a-f]{64})")


class TokensError(ValueError):
    """What is wrong with the file of tokens, one problem a line."""


class Tokens:
    """The tokens of a file; it is read again when it changes, so that a token can be rotated. None: no file."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stamp = 0
        self._hashes: dict[str, str] = {}
        if file is not None:
            self._hashes = read_tokens(file)
            self._stamp = file.stat().st_mtime_ns

    def check(self, request: web.Request) -> None:
        """Raises BadRequest (401) unless the request carries one of the tokens, or none are needed."""
        if self._file is not None and not self.knows(request):
            raise BadRequest("Authorization", "not a token that we know", status=401)

    def knows(self, request: web.Request) -> bool:
        """Whether the request carries one of the tokens. Raises BadRequest (401) where it carries none at all."""
        token = self.bearer(request)
        if self._file is None:
            return False
        self._reload(self._file)
        seen = hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
        # Compared with every one, in constant time.
        return sum(hmac.compare_digest(seen, known) for known in self._hashes.values()) > 0

    def bearer(self, request: web.Request) -> str:
        """The token that the request carries. Raises BadRequest (401)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise BadRequest("Authorization", "missing: want `Bearer TOKEN`", status=401)
        return token.strip()

    def _reload(self, file: Path) -> None:
        try:
            stamp = file.stat().st_mtime_ns
            if stamp != self._stamp:
                self._hashes = read_tokens(file)
                self._stamp = stamp
        except (OSError, TokensError):
            return  # half-written or away for a moment: the tokens we know still hold


def read_tokens(file: Path) -> dict[str, str]:
    """Name → SHA-256 in hex. Raises TokensError, OSError."""
    hashes: dict[str, str] = {}
    problems: list[str] = []
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokensError(f"{file}: want text: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            problems.append(f"{file}:{number}: want `name sha256`, the hash in 64 lower-case hex digits")
        elif match["name"] in hashes:
            problems.append(f"{file}:{number}: {match['name']} again: want a name of its own for each token")
        else:
            hashes[match["name"]] = match["sha256"]
    if not hashes and not problems:
        problems.append(f"{file}: no token in it: nobody could push")
    if problems:
        raise TokensError("\n".join(problems))
    return hashes
