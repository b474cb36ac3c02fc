"""Namespaces and quotas from YAML files, as kubectl prints them: a List, or documents one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from chargeback.cluster.objects import KubernetesObject, ObjectsError, to_namespace
from chargeback.cluster.quota_objects import QuotaObject, to_quota_spec
from chargeback.core.owners.owners import LabelKeys, Namespace
from chargeback.core.quota.specs import QuotaSpec

T = TypeVar("T")


class _StringLoader(yaml.BaseLoader):
    """Scalars stay text: `8`, `1e5` and `2026-10-01` are quantities, labels and times, not numbers."""


def read_namespaces(path: Path, keys: LabelKeys) -> list[Namespace]:
    """Raises ObjectsError, OSError."""
    return [to_namespace(found, keys) for found in _objects(path, "Namespace", KubernetesObject)]


def read_quotas(path: Path) -> list[QuotaSpec]:
    """Raises ObjectsError, OSError."""
    quotas = [to_quota_spec(found) for found in _objects(path, "ResourceQuota", QuotaObject)]
    for quota in quotas:
        if not quota.namespace:
            raise ObjectsError(f"{path}: ResourceQuota {quota.name}: metadata.namespace: missing")
    return quotas


def _objects(path: Path, kind: str, of: type[T]) -> Iterator[T]:
    """The file's objects of one kind; others are passed over, for people keep them in one file."""
    try:
        documents = [d for d in yaml.load_all(path.read_text(encoding="utf-8"), Loader=_StringLoader) if d]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ObjectsError(f"{path}: not YAML: {error}") from error
    found = 0
    lists = 0
    for document in documents:
        items = document.get("items", [document]) if isinstance(document, dict) else [document]
        lists += items == []  # a cluster without quotas is one that kubectl prints so
        for item in items if isinstance(items, list) else [items]:
            if isinstance(item, dict) and item.get("kind") not in (kind, None):
                continue
            try:
                yield msgspec.convert(item, of, strict=False)
            except msgspec.ValidationError as error:
                raise ObjectsError(f"{path}: {kind} number {found + 1}: {error}") from error
            found += 1
    if not found and not lists:
        raise ObjectsError(f"{path}: no {kind} in it: want what `kubectl get … -o yaml` prints")
