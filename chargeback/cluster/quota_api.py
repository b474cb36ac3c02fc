"""The objects of the quota commands from a live cluster, page by page."""

from __future__ import annotations

import msgspec

from chargeback.cluster.api import PAGES_MAX, ApiError, ClusterApi
from chargeback.cluster.quota_objects import KINDS, QuotaObject, QuotaObjectList, to_objects
from chargeback.core.owners import LabelKeys
from chargeback.core.quota_specs import QuotaObjects


class QuotaApi(ClusterApi):
    """Asks one cluster for all that bears on quotas. Use as an async context manager."""

    async def objects(self, keys: LabelKeys, *kinds: str) -> QuotaObjects:
        """The named kinds (all, if none is named). Raises ApiError."""
        return to_objects({kind: await self._all(KINDS[kind]) for kind in kinds or KINDS}, keys)

    async def _all(self, path: str) -> list[QuotaObject]:
        items: list[QuotaObject] = []
        token = ""
        for _ in range(PAGES_MAX):
            body = await self._get(path, token)
            try:
                page = msgspec.json.decode(body, type=QuotaObjectList)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ApiError(f"{path}: {error}") from error
            items += page.items
            token = page.metadata.token
            if not token:
                return items
        raise ApiError(f"{path}: goes on after {PAGES_MAX} pages")
