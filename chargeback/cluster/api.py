"""The Kubernetes API: calls, lists and watches, through the official client's configuration, auth and transport.

Bodies are decoded straight into the few fields we use. What a list or a watch says comes with the API server's own
time, so that a wrong clock of ours dates nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

import aiohttp
import msgspec
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.rest import RESTResponse
from kubernetes.aio.config.config_exception import ConfigException

from chargeback.clock import Clock, SystemClock
from chargeback.cluster.kind import Kind

T = TypeVar("T")
V = TypeVar("V")

# A dead peer must not hang us: the API answers a page of this size in far less.
TIMEOUT_S = 30
PAGE_ITEMS = 500
PAGES_MAX = 2_000
# The server ends a watch after WATCH_S; longer silence is a dead peer. Bookmarks cannot tell the two apart: where
# etcd does not report its progress, as by default, a kind that does not change gets none.
WATCH_S = 60
WATCH_SILENT_S = 90


class ApiError(RuntimeError):
    """The API could not be asked: says what and why. status: None where no answer came; answer: its body."""

    def __init__(self, problem: str, status: int | None = None, answer: bytes = b"") -> None:
        super().__init__(problem)
        self.status = status
        self.answer = answer


class Expired(ApiError):
    """The server no longer knows what followed the version we had: list again."""


class NotServed(ApiError):
    """The server has no such kind, in no version: so there is none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[V]):
    """All objects of a kind, by uid. version: to watch from; asked_ms: when it was asked for (server's clock)."""

    items: dict[str, V]
    version: str
    asked_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[V]):
    """One change. value: as it is now, or was at its end; None: not one that we follow.

    A bookmark has neither uid nor value: it says up to which version there was nothing else. Nor has OPENED, which
    comes first, when the server has begun to answer.
    """

    kind: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "OPENED"]
    version: str
    uid: str = ""
    value: V | None = None


class ClusterApi:
    """Asks one cluster. Use as an async context manager."""

    def __init__(self, configuration: client.Configuration, clock: Clock | None = None) -> None:
        self._configuration = configuration
        self._clock = clock or SystemClock()
        self._skew_ms = 0

    async def __aenter__(self) -> Self:
        self._client = client.ApiClient(configuration=self._configuration)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    def now_ms(self) -> int:
        """The API server's time, as far as its answers tell: ours, put right by whole seconds that cannot be."""
        return self._clock.now_ms() + self._skew_ms

    async def list_all(self, kind: Kind[V]) -> Listing[V]:
        """All objects of a kind, page by page, as they were at one version.

        Raises ApiError; Expired: list again; NotServed: the server has none of its group.
        """
        items: dict[str, V] = {}
        version = token = ""
        asked_ms = self._clock.now_ms()  # how wrong that is, only the answers tell
        for _ in range(PAGES_MAX):
            asked = [*kind.query, ("limit", str(PAGE_ITEMS))] + ([("continue", token)] if token else [])
            try:
                answer = await self.call("GET", kind.path, query=asked)
            except ApiError as error:
                if error.status == HTTPStatus.NOT_FOUND and not await self._serves_group(kind.path):
                    raise NotServed(str(error), error.status) from error
                raise
            page = _decode(kind.path, answer, _page_type(kind.of))
            version = version or page.metadata.version
            for found in page.items:
                if (value := kind.read(found)) is not None:
                    items[found.metadata.uid] = value
            token = page.metadata.token
            if not token:
                return Listing(items=items, version=version, asked_ms=asked_ms + self._skew_ms)
        raise ApiError(f"{kind.path}: goes on after {PAGES_MAX} pages")

    async def _serves_group(self, path: str) -> bool:
        """Whether the server has the group of a path in any version. Raises ApiError."""
        try:
            await self.call("GET", "/".join(path.split("/")[:3]))  # /apis/resource.k8s.io
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True

    async def get(self, kind: Kind[V], name: str) -> V | None:
        """One object by its name; None: there is none, or it is none that we follow. Raises ApiError."""
        try:
            answer = await self.call("GET", f"{kind.path}/{name}")
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return kind.read(_decode(kind.path, answer, kind.of))

    async def watch(self, kind: Kind[V], version: str) -> AsyncIterator[Event[V]]:
        """What changes after a version, until the server ends the watch. Raises ApiError; Expired: list again."""
        asked = [*kind.query, ("watch", "1"), ("allowWatchBookmarks", "true"), ("resourceVersion", version)]
        asked.append(("timeoutSeconds", str(WATCH_S)))
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=WATCH_SILENT_S)
        async with self._open("GET", kind.path, asked, None, timeout) as response:
            yield Event(kind="OPENED", version=version)
            try:
                async for line in response.response.content:
                    yield _read_event(kind, line)
            except ValueError as error:  # a line beyond the client's buffer
                raise ApiError(f"{kind.path}: {error}") from error

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: list[tuple[str, str]] | None = None,
        expect: HTTPStatus = HTTPStatus.OK,
    ) -> bytes:
        """One call, with the client's own authentication; the body of the answer. Raises ApiError."""
        async with self._open(method, path, query or [], body, TIMEOUT_S, expect) as response:
            answer: bytes = await response.read()
        return answer

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        body: object,
        timeout: float | aiohttp.ClientTimeout,
        expect: HTTPStatus = HTTPStatus.OK,
    ) -> AsyncIterator[RESTResponse]:
        """An answer with the expected status, released at the end. Raises ApiError."""
        asked_ms = self._clock.now_ms()
        try:
            # Built anew for each call, so that a token which was renewed on disk is the one that is sent.
            method, url, headers, body, _ = await self._client.param_serialize(
                method,
                path,
                query_params=query,
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self._client.call_api(method, url, headers, body, _request_timeout=timeout)
        except (ApiException, ConfigException, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(f"{path}: {type(error).__name__}: {error}") from error
        self._note_time(answer, asked_ms, self._clock.now_ms())
        try:
            if answer.status != expect:
                raise await _refused(path, answer)
            yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(f"{path}: {type(error).__name__}: {error}") from error
        finally:
            answer.response.release()

    def _note_time(self, answer: RESTResponse, asked_ms: int, answered_ms: int) -> None:
        """An answer names the second in which it was made, between asking and answer: else our clock is off.

        No more is put right than cannot be otherwise, so a clock that is right is left alone.
        """
        try:
            second_ms = int(parsedate_to_datetime(answer.headers["Date"]).timestamp() * 1000)
        except (KeyError, ValueError):
            return
        self._skew_ms = max(second_ms - answered_ms, 0) or min(second_ms + 1000 - asked_ms, 0)


class _Meta(msgspec.Struct, frozen=True):
    version: str = msgspec.field(default="", name="resourceVersion")
    token: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, Generic[T], frozen=True):
    items: list[T]
    metadata: _Meta = _Meta()


class _Versioned(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


class _Event(msgspec.Struct, frozen=True):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class _Status(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


@cache
def _page_type(of: type) -> Any:
    return _Page[of]  # type: ignore[valid-type]  # made at run time, once a kind


def _decode(path: str, data: bytes | msgspec.Raw, of: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=of)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(f"{path}: {error}") from error


async def _refused(path: str, answer: RESTResponse) -> ApiError:
    body: bytes = await answer.read()
    text = f"{path}: {answer.status} {answer.reason}: {_message(body)}"
    return (Expired if answer.status == HTTPStatus.GONE else ApiError)(text, answer.status, body)


def _message(body: bytes) -> str:
    """What an answer says to people: the message of the API's own; of a proxy's, its beginning."""
    try:
        said = msgspec.json.decode(body, type=_Status).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = ""
    return said or " ".join(body[:300].decode(errors="replace").split())


def _read_event(kind: Kind[V], line: bytes) -> Event[V]:
    """Raises ApiError; Expired where the server says so."""
    event: _Event = _decode(kind.path, line, _Event)
    if event.type == "ERROR":
        status: _Status = _decode(kind.path, event.object, _Status)
        gone = status.code == HTTPStatus.GONE
        raise (Expired if gone else ApiError)(f"{kind.path}: {status.message}", status.code)
    if event.type == "BOOKMARK":  # its object has a version and nothing else
        return Event(kind=event.type, version=_decode(kind.path, event.object, _Versioned).metadata.version)
    found = _decode(kind.path, event.object, kind.of)
    meta = found.metadata
    return Event(kind=event.type, version=meta.resource_version, uid=meta.uid, value=kind.read(found))
