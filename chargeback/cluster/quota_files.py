"""The objects of the quota commands from YAML: files, folders or standard input, as kubectl prints or reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from chargeback.cluster.objects import ObjectsError
from chargeback.cluster.quota_objects import KINDS, QuotaObject, to_objects
from chargeback.core.owners import LabelKeys
from chargeback.core.quota_specs import QuotaObjects

STDIN = Path("-")
_SUFFIXES = (".yaml", ".yml", ".json")


def read_objects(paths: Iterable[Path], keys: LabelKeys) -> QuotaObjects:
    """Everything of KINDS in the files; other kinds are passed over. Raises ObjectsError, OSError."""
    found: dict[str, list[QuotaObject]] = {}
    empty_lists = 0
    for path in _files(paths):
        for document in _documents(path):
            items = _items(path, document)
            empty_lists += not items  # a cluster without quotas is one that kubectl prints so
            for item in items:
                if (kind := item.get("kind")) in KINDS:
                    found.setdefault(kind, []).append(_object(path, item))
    if not found and not empty_lists:
        raise ObjectsError(f"{', '.join(map(str, paths))}: none of {', '.join(KINDS)} in it")
    return to_objects(found, keys)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Of a folder its own YAML files, as `kubectl apply -f` takes them."""
    for path in paths:
        if path != STDIN and path.is_dir():
            yield from sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES)
        else:
            yield path


def _documents(path: Path) -> list[Any]:
    try:
        text = sys.stdin.read() if path == STDIN else path.read_text(encoding="utf-8")
        # Scalars stay text: `8` and `1e5` are quantities, not numbers.
        return [document for document in yaml.load_all(text, Loader=yaml.BaseLoader) if document]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ObjectsError(f"{path}: not YAML: {error}") from error


def _items(path: Path, document: Any) -> list[dict[str, Any]]:
    """The object itself, or those of a List."""
    items = document.get("items", [document]) if isinstance(document, dict) else [document]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ObjectsError(f"{path}: want objects as `kubectl get … -o yaml` prints them")
    return items


def _object(path: Path, item: dict[str, Any]) -> QuotaObject:
    # An empty scalar is what YAML calls null: `hard:` with nothing behind it.
    try:
        return msgspec.convert(_without_empty(item), QuotaObject, strict=False)
    except msgspec.ValidationError as error:
        metadata = item.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        raise ObjectsError(f"{path}: {item['kind']} {name}: {error}") from error


def _without_empty(item: dict[str, Any]) -> dict[str, Any]:
    parts = {key: item[key] for key in ("metadata", "kind", "spec", "status", "globalDefault") if item.get(key)}
    for part in ("metadata", "spec", "status"):
        if isinstance(parts.get(part), dict):
            parts[part] = {key: value for key, value in parts[part].items() if value != ""}
    return parts
