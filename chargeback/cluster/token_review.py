"""Asks the API server whose a token is (TokenReview)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from chargeback.cluster.api import ApiError, ClusterApi
from chargeback.core.agents import AUDIENCE, Review

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
NODE_NAME = "authentication.kubernetes.io/node-name"


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    extra: dict[str, list[str]] = {}


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _User = _User()
    audiences: list[str] = []
    error: str = ""


class _TokenReview(msgspec.Struct, frozen=True):
    status: _Status = _Status()


class TokenReviewer:
    """Reviews tokens through one cluster's API."""

    def __init__(self, api: ClusterApi) -> None:
        self._api = api

    async def review(self, token: str) -> Review:
        """Raises ApiError where the cluster cannot be asked."""
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        answer = await self._api.call("POST", PATH, asked, expect=HTTPStatus.CREATED)
        try:
            status = msgspec.json.decode(answer, type=_TokenReview).status
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiError(f"{PATH}: {error}") from error
        nodes = status.user.extra.get(NODE_NAME, [])
        return Review(
            authenticated=status.authenticated,
            username=status.user.username,
            audiences=tuple(status.audiences),
            node=nodes[0] if len(nodes) == 1 else None,
            error=status.error,
        )
