"""The objects of the quota commands from a live cluster."""

from __future__ import annotations

from http import HTTPStatus

from chargeback.cluster.api import ApiError, ClusterApi, NotServed
from chargeback.cluster.kind import Kind
from chargeback.cluster.quota_objects import KINDS, QuotaObject, to_objects
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.quota.specs import QuotaObjects

# Without these there is nothing to look at. For others an account may lack the right, or an old server the version.
NEEDED = ("ResourceQuota",)
OF_NAMESPACES = ("ResourceQuota", "LimitRange")


class QuotaApi(ClusterApi):
    """Asks one cluster for all that bears on quotas. Use as an async context manager."""

    async def objects(self, keys: LabelKeys, *kinds: str, namespace: str | None = None) -> QuotaObjects:
        """The named kinds (all, if none is named). Raises ApiError.

        namespace: of this one only: its people may see no other
        """
        return await read_cluster(self, keys, *kinds, namespace=namespace)


async def read_cluster(api: ClusterApi, keys: LabelKeys, *kinds: str, namespace: str | None = None) -> QuotaObjects:
    """As QuotaApi.objects. What may not be read is not known, and named. Raises ApiError."""
    found: dict[str, list[QuotaObject]] = {}
    unknown: dict[str, str] = {}
    for kind in kinds or KINDS:
        try:
            found[kind] = await _read(api, kind, namespace)
        except NotServed:
            found[kind] = []
        except ApiError as error:
            if kind in NEEDED or error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                raise
            unknown[kind] = str(error)
    return to_objects(found, keys, unknown=unknown)


async def _read(api: ClusterApi, name: str, namespace: str | None) -> list[QuotaObject]:
    kind = Kind(name=name, path=KINDS[name], of=QuotaObject, read=lambda found: found)
    if namespace is not None and name == "Namespace":
        found = await api.get(kind, namespace)
        return [] if found is None else [found]
    if namespace is not None and name in OF_NAMESPACES:
        kind = kind.within(namespace)
    return list((await api.list_all(kind)).items.values())
