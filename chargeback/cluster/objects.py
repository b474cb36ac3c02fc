"""Kubernetes objects, decoded into the few fields we use; unknown fields are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chargeback.core.owners.owners import LabelKeys, Namespace
from chargeback.core.quota.resources import CAP, GUARANTEED, PRICE_KEY
from chargeback.core.rating.dimensions import labels_of


class ObjectsError(ValueError):
    """A list of objects that cannot be read: says where and what is wanted."""


class MetadataFields(msgspec.Struct, frozen=True):
    labels: dict[str, Any] | None = msgspec.field(default=None, name="f:labels")


class Fields(msgspec.Struct, frozen=True):
    metadata: MetadataFields | None = msgspec.field(default=None, name="f:metadata")


class ManagedField(msgspec.Struct, frozen=True):
    time: datetime | None = None
    fields: Fields | None = msgspec.field(default=None, name="fieldsV1")

    @property
    def labels(self) -> set[str]:
        """Keys of the labels that this manager wrote, as `f:team`."""
        metadata = self.fields.metadata if self.fields else None
        return set(metadata.labels or ()) if metadata else set()


# As long as Kubernetes lets them be: the ledger has them in its keys.
Name = Annotated[str, Meta(min_length=1, max_length=253)]
Label = Annotated[str, Meta(max_length=63)]


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: Name
    namespace: Annotated[str, Meta(max_length=253)] = ""
    uid: str | None = None
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    labels: dict[str, Label] | None = None
    annotations: dict[str, str] | None = None
    managed_fields: list[ManagedField] | None = None


class KubernetesObject(msgspec.Struct, frozen=True):
    metadata: Metadata
    kind: str = ""


def to_namespace(found: KubernetesObject, keys: LabelKeys) -> Namespace:
    meta = found.metadata
    return Namespace(
        name=meta.name,
        uid=meta.uid,
        created_ms=unix_ms(meta.creation_timestamp),
        labelled_ms=_labelled_ms(meta, keys),
        dimensions=labels_of(keys.dimensions.namespace, meta.labels or {}),
        labels=meta.labels or {},
        annotations={
            key: text for key, text in (meta.annotations or {}).items() if key in (GUARANTEED, CAP, PRICE_KEY)
        },
        **keys.read(meta.labels or {}),
    )


def _labelled_ms(meta: Metadata, keys: LabelKeys) -> int | None:
    """When one of our labels was last written, by whoever manages it."""
    ours = {f"f:{key}" for key in keys.of_namespaces}
    times = [unix_ms(entry.time) for entry in meta.managed_fields or () if ours & entry.labels]
    return max((at for at in times if at is not None), default=None)


def unix_ms(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)
