"""The aggregator's own token in a pod: renewed on disk while it runs, gone for a moment, wrong for a moment."""

from __future__ import annotations

import asyncio
import datetime
import json
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace

import pytest
from kubernetes.aio.config import incluster_config

from chargeback.cluster.api import ApiError, ClusterApi
from chargeback.cluster.login import find_cluster
from tests.cluster.control_plane import AGGREGATOR_TOKEN, AGGREGATOR_USER, ControlPlane, control_plane

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


class Later(datetime.datetime):
    """A clock that is always past the minute for which the client keeps a token that it read."""

    minutes = 0

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Later:
        cls.minutes += 2
        return super().now(tz) + datetime.timedelta(minutes=cls.minutes)


async def who(api: ClusterApi) -> str:
    """Whom the API server takes us for."""
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = json.loads(await api.call("POST", REVIEWS, asked, expect=HTTPStatus.CREATED))
    name: str = answer["status"]["userInfo"]["username"]
    return name


async def who_at_last(api: ClusterApi) -> str:
    """Just started, an API server grants nothing for a moment."""
    for _ in range(100):
        try:
            return await who(api)
        except ApiError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            await asyncio.sleep(0.1)
    return await who(api)


async def test_a_token_that_is_renewed_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call sends the new one; without one or with a wrong one a call says so, and the one after is fine."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with control_plane(folder) as plane:
        token = in_a_pod(plane, tmp_path, monkeypatch)
        configuration = await find_cluster(None)
        assert configuration is not None
        async with ClusterApi(configuration) as api:
            assert await who_at_last(api) == AGGREGATOR_USER
            token.write_text(renewed(plane))
            assert await who(api) == "system:serviceaccount:default:renewed"
            token.write_text("nobody")
            with pytest.raises(ApiError, match="401"):
                await who(api)
            token.unlink()
            with pytest.raises(ApiError, match="No such file"):
                await who(api)
            token.write_text(AGGREGATOR_TOKEN)
            assert await who(api) == AGGREGATOR_USER


def in_a_pod(plane: ControlPlane, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As a pod has it: where the API is, a token and the server's certificate; the file of the token."""
    token = folder / "token"
    token.write_text(AGGREGATOR_TOKEN)
    host, _, port = plane.url.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(plane.folder / "cert/apiserver.crt"))
    clock = SimpleNamespace(datetime=Later, timedelta=datetime.timedelta)
    monkeypatch.setattr(incluster_config, "datetime", clock)
    return token


def renewed(plane: ControlPlane) -> str:
    """Another account's token, so that one can tell them apart."""
    plane.create(ACCOUNTS, "ServiceAccount", "renewed")
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    found: str = plane.call("POST", f"{ACCOUNTS}/renewed/token", asked)["status"]["token"]
    return found
