"""Asks the API server whether it would admit a pod: a dry run of its creation, which stores and consumes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from chargeback.cluster.api import ApiError, ClusterApi

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# How admission's refusals begin, after `pods "NAME" is forbidden: `.
_OF_QUOTAS = ("exceeded quota: ", "failed quota: ", "status unknown for quota: ", "insufficient quota ")
# The API server's answers that are about the pod; others are about the asking.
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAnswer:
    """admitted: None: it was not answered. refused_by: quota, admission, validation; right: we may not ask.

    message: the server's own words
    """

    admitted: bool | None
    status: int
    refused_by: str | None
    message: str


class _Status(msgspec.Struct, frozen=True):
    message: str = ""


class _ReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


async def try_pod(api: ClusterApi, namespace: str, manifest: dict[str, Any]) -> ServerAnswer:
    """A dry run runs every admission plugin and webhook, quotas last. Raises ApiError where there is no answer."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    try:
        await api.call("POST", path, manifest, query=[("dryRun", "All")], expect=HTTPStatus.CREATED)
    except ApiError as error:
        if error.status not in _REFUSALS:
            raise
        message = _message(error)
        if error.status == HTTPStatus.FORBIDDEN and not await _may_create(api, namespace):
            return ServerAnswer(admitted=None, status=error.status, refused_by="right", message=message)
        return ServerAnswer(
            admitted=False, status=error.status, refused_by=_who(error.status, message), message=message
        )
    return ServerAnswer(admitted=True, status=HTTPStatus.CREATED, refused_by=None, message="created (server dry run)")


def _who(status: int, message: str) -> str:
    if status != HTTPStatus.FORBIDDEN:
        return "validation"
    return "quota" if any(each in message for each in _OF_QUOTAS) else "admission"


async def _may_create(api: ClusterApi, namespace: str) -> bool:
    """Whether this account may create pods there: everybody may ask that of himself."""
    asked = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": namespace, "verb": "create", "resource": "pods"}},
    }
    answer = await api.call("POST", REVIEWS, asked, expect=HTTPStatus.CREATED)
    try:
        return msgspec.json.decode(answer, type=_Review).status.allowed
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(f"{REVIEWS}: {error}") from error


def _message(error: ApiError) -> str:
    try:
        return msgspec.json.decode(error.answer, type=_Status).message or str(error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return str(error)
