"""Namespaces and quotas from the Kubernetes API, through the official client's configuration and transport."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config.config_exception import ConfigException

from chargeback.cluster.objects import KubernetesObject, ObjectList, ObjectsError, to_namespace, to_quota
from chargeback.core.owners import LabelKeys, Namespace
from chargeback.core.quotas import ResourceQuota

# A dead peer must not hang us: the API answers a list of this size in far less.
TIMEOUT_S = 30
PAGE_ITEMS = 500
PAGES_MAX = 200  # more namespaces than Kubernetes is tested with


class ApiError(RuntimeError):
    """The API could not be asked: says what and why. What was known before stays."""


class ClusterApi:
    """Asks one cluster. Use as an async context manager."""

    def __init__(self, configuration: client.Configuration) -> None:
        self._configuration = configuration

    async def __aenter__(self) -> Self:
        self._client = client.ApiClient(configuration=self._configuration)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def namespaces(self, keys: LabelKeys) -> list[Namespace]:
        return [to_namespace(found, keys) for found in await self._list("/api/v1/namespaces")]

    async def quotas(self) -> list[ResourceQuota]:
        return [to_quota(found) for found in await self._list("/api/v1/resourcequotas")]

    async def _list(self, path: str) -> list[KubernetesObject]:
        """All objects of a kind, page by page, decoded straight into the fields we use. Raises ApiError."""
        items: list[KubernetesObject] = []
        token = ""
        for _ in range(PAGES_MAX):
            page = await self._get(path, token)
            try:
                items += msgspec.json.decode(page, type=ObjectList).items
                token = msgspec.json.decode(page, type=_Page).metadata.token
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ApiError(f"{path}: {error}") from error
            if not token:
                return items
        raise ApiError(f"{path}: goes on after {PAGES_MAX} pages")

    async def _get(self, path: str, token: str) -> bytes:
        query = [("limit", str(PAGE_ITEMS))] + ([("continue", token)] if token else [])
        return await self.call("GET", path, query=query)

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
        method, url, headers, body, _ = await self._client.param_serialize(
            method,
            path,
            query_params=query,
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._client.call_api(method, url, headers, body, _request_timeout=TIMEOUT_S)
            answer: bytes = await response.read()
        except (ApiException, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(f"{path}: {type(error).__name__}: {error}") from error
        if response.status != expect:
            raise ApiError(f"{path}: {response.status} {response.reason}: {answer[:300].decode(errors='replace')}")
        return answer


class _ListMetadata(msgspec.Struct, frozen=True):
    token: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    metadata: _ListMetadata = _ListMetadata()


async def find_cluster(kubeconfig: Path | None) -> client.Configuration | None:
    """How to reach the API: by the kubeconfig, else by the in-cluster account; None where neither is there.

    Raises ApiError for a kubeconfig that cannot be used.
    """
    configuration = client.Configuration()
    try:
        if kubeconfig is not None:
            await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        else:
            config.load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        if kubeconfig is None:
            return None
        raise ApiError(f"--kubeconfig={kubeconfig}: {error}") from error
    return configuration


__all__ = ["ApiError", "ClusterApi", "ObjectsError", "find_cluster"]
