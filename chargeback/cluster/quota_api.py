"""The objects of the quota commands from a live cluster."""

from __future__ import annotations

from http import HTTPStatus

from chargeback.cluster.api import ApiError, ClusterApi
from chargeback.cluster.kind import Kind
from chargeback.cluster.quota_objects import KINDS, QuotaObject, to_objects
from chargeback.core.owners import LabelKeys
from chargeback.core.quota.specs import QuotaObjects

# Without these there is nothing to look at. Of the others an account may lack the right, or an old server the kind.
NEEDED = ("ResourceQuota",)


class QuotaApi(ClusterApi):
    """Asks one cluster for all that bears on quotas. Use as an async context manager."""

    async def objects(self, keys: LabelKeys, *kinds: str) -> QuotaObjects:
        """The named kinds (all, if none is named). Raises ApiError."""
        return await read_cluster(self, keys, *kinds)


async def read_cluster(api: ClusterApi, keys: LabelKeys, *kinds: str) -> QuotaObjects:
    """The named kinds (all, if none is named). What may not be read is not known, and named. Raises ApiError."""
    found: dict[str, list[QuotaObject]] = {}
    unknown: dict[str, str] = {}
    for kind in kinds or KINDS:
        try:
            found[kind] = await _list(api, kind)
        except ApiError as error:
            if kind in NEEDED or error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                raise
            unknown[kind] = str(error)
    return to_objects(found, keys, unknown=unknown)


async def _list(api: ClusterApi, kind: str) -> list[QuotaObject]:
    listing = await api.list_all(Kind(name=kind, path=KINDS[kind], of=QuotaObject, read=lambda found: found))
    return list(listing.items.values())
