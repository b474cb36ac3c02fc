"""The objects of the quota commands from YAML: files, folders or standard input, as kubectl prints or reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from chargeback.cluster.objects import ObjectsError
from chargeback.cluster.pod_manifest import WORKLOADS, to_workload
from chargeback.cluster.quota_objects import KINDS, QuotaObject, to_objects
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.quota.specs import QuotaObjects, Workload

STDIN = Path("-")
_SUFFIXES = (".yaml", ".yml", ".json")


def read_objects(paths: Iterable[Path], keys: LabelKeys) -> QuotaObjects:
    """Everything of KINDS and WORKLOADS in the files; others are passed over. Raises ObjectsError, OSError."""
    found: dict[str, list[QuotaObject]] = {}
    workloads: list[Workload] = []
    empty_lists = 0
    for path in _files(paths):
        for document in _documents(path):
            items = _items(path, document)
            empty_lists += not items  # a cluster without quotas is one that kubectl prints so
            for item in items:
                if (kind := item.get("kind")) in KINDS:
                    found.setdefault(kind, []).append(_object(path, item))
                elif kind in WORKLOADS:
                    workloads.append(_workload(path, item))
    if not found and not workloads and not empty_lists:
        raise ObjectsError(f"{', '.join(map(str, paths))}: none of {', '.join((*KINDS, *WORKLOADS))} in it")
    return to_objects(found, keys, workloads=workloads)


def read_workload(path: Path) -> tuple[Workload, dict[str, Any]]:
    """The one workload of a file, and its manifest as JSON has it. Raises ObjectsError, OSError."""
    items = [item for document in _documents(path, _JsonLoader) for item in _items(path, document)]
    pods = [item for item in items if item.get("kind") in WORKLOADS]
    if len(pods) != 1:
        kinds = ", ".join(str(item.get("kind")) for item in items) or "nothing"
        raise ObjectsError(f"{path}: {kinds}: want exactly one of {', '.join(WORKLOADS)}")
    return _workload(path, pods[0]), pods[0]


def read_items(paths: Iterable[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every object of the files, of whatever kind, and the file it is in. Raises ObjectsError, OSError."""
    for path in _files(paths):
        for document in _documents(path):
            for item in _items(path, document):
                yield path, _without_nulls(item)


class _JsonLoader(yaml.SafeLoader):
    """Times stay text, as in JSON."""


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Of a folder its own YAML files, as `kubectl apply -f` takes them."""
    for path in paths:
        if path != STDIN and path.is_dir():
            yield from sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES)
        else:
            yield path


def _documents(path: Path, loader: type[yaml.BaseLoader | yaml.SafeLoader] = yaml.BaseLoader) -> list[Any]:
    try:
        text = sys.stdin.read() if path == STDIN else path.read_text(encoding="utf-8")
        # By default scalars stay text: `8` and `1e5` are quantities, not numbers.
        return [document for document in yaml.load_all(text, Loader=loader) if document]
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


def _workload(path: Path, item: dict[str, Any]) -> Workload:
    try:
        return to_workload(_without_nulls(item))
    except ObjectsError as error:
        raise ObjectsError(f"{path}: {error}") from error


def _without_nulls(value: Any) -> Any:
    """Without what YAML calls null, at any depth."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each not in ("", None)}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _without_empty(item: dict[str, Any]) -> dict[str, Any]:
    fields = ("metadata", "kind", "spec", "status", "globalDefault", "overhead")
    parts = {key: item[key] for key in fields if item.get(key)}
    for part in ("metadata", "spec", "status"):
        if isinstance(parts.get(part), dict):
            parts[part] = {key: value for key, value in parts[part].items() if value != ""}
    return parts
