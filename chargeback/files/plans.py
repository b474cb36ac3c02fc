"""Plans as people write them: one YAML file, all its problems reported at once, each with its line.

```yaml
plans:
  - {namespace: ml-research, guaranteed: 8, cap: 32, from: 2026-10-01, until: 2027-01-01}
  - {cluster: lab, namespace: ml-research, resource: nvidia.com/mig-1g.10gb, guaranteed: 14}
  - {namespace: ml-mixed, guaranteed: 4, price_key: NVIDIA H100 80GB HBM3}
```
`from` and `until` are any instants, half-open; a bare date is its midnight in the ledger's timezone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from chargeback.core.hours import format_instant, parse_instant
from chargeback.core.plans.book import FILE, PlanVersion
from chargeback.core.plans.history import DEVICES_MAX
from chargeback.core.plans.key import check_price_key, key_sku
from chargeback.core.quota.limit_ranges import is_gpu
from chargeback.core.quota.specs import GPU
from chargeback.files.plain_yaml import is_null

T = TypeVar("T")

KEYS = ("cluster", "namespace", "resource", "guaranteed", "cap", "price_key", "from", "until")
_NAME_CHARS_MAX = 253


class PlanFileError(ValueError):
    """What is wrong with a plan file: one problem a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """entries: by cluster, each namespace's in the file's order."""

    entries: dict[str, list[PlanVersion]]

    @property
    def count(self) -> int:
        return sum(map(len, self.entries.values()))


def read_plan_file(path: Path, cluster: str, timezone: str) -> PlanFile:
    """Read and check. cluster: of entries that name none. Raises PlanFileError, OSError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PlanFileError(f"{path}: not UTF-8: {error}") from error
    return parse_plans(text, str(path), cluster, timezone)


def parse_plans(text: str, name: str, cluster: str, timezone: str) -> PlanFile:
    """Raises PlanFileError that lists every problem with its line."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise PlanFileError(f"{name}: not YAML: {error}") from error
    reader = _Reader(name, cluster, timezone)
    found = reader.read(root)
    if reader.problems:
        raise PlanFileError("\n".join(reader.problems))
    entries: dict[str, list[PlanVersion]] = {}
    for of, version in found:
        entries.setdefault(of, []).append(version)
    return PlanFile(entries=entries)


class _Reader:
    """Reads entries, collecting problems."""

    def __init__(self, name: str, cluster: str, timezone: str) -> None:
        self.problems: list[str] = []
        self._name = name
        self._cluster = cluster
        self._timezone = timezone

    def read(self, root: yaml.Node | None) -> list[tuple[str, PlanVersion]]:
        """(cluster, version) of every entry that could be read."""
        top = self._mapping(root, "", ("plans",))
        if top is None:
            return []
        listed = top.get("plans")
        if listed is None or not isinstance(listed, yaml.SequenceNode):
            self._problem(listed or root, "plans: want a list of plans; `plans: []` for none")
            return []
        found: list[tuple[str, PlanVersion]] = []
        places: list[yaml.Node] = []
        for i, node in enumerate(listed.value):
            entry = self._entry(node, f"plans[{i}].")
            if entry is not None:
                found.append(entry)
                places.append(node)
        self._check_overlaps(found, places)
        return found

    def _entry(self, node: yaml.Node, place: str) -> tuple[str, PlanVersion] | None:
        values = self._mapping(node, place, KEYS)
        if values is None:
            return None
        before = len(self.problems)
        cluster = self._text(values, "cluster", place, _name) or self._cluster
        namespace = self._text(values, "namespace", place, _name)
        resource = self._text(values, "resource", place, _resource) or GPU
        guaranteed = self._text(values, "guaranteed", place, _devices)
        cap = self._text(values, "cap", place, _devices)
        price_key = self._text(values, "price_key", place, check_price_key) or ""
        from_ms = self._text(values, "from", place, self._instant) or 0
        until_ms = self._text(values, "until", place, self._instant)
        if "namespace" not in values:
            self._problem(node, f"{place}namespace: missing")
        if "guaranteed" not in values and "cap" not in values:
            self._problem(node, f"{place}guaranteed: missing: want it, or a cap, or both")
        if until_ms is not None and until_ms <= from_ms:
            seen = f"{values['until'].value!r}"
            self._problem(values["until"], f"{place}until: {seen}: want an instant after `from`")
        if guaranteed is not None and cap is not None and guaranteed > cap:
            self._problem(values["cap"], f"{place}cap: {cap}: want no less than the {guaranteed} that are guaranteed")
        if len(self.problems) > before or namespace is None:
            return None
        return cluster, PlanVersion(
            namespace=namespace,
            resource=resource,
            guaranteed=guaranteed,
            cap=cap,
            price_key=price_key,
            from_ms=from_ms,
            until_ms=until_ms,
            layer=FILE,
            source=self._name,
        )

    def _check_overlaps(self, found: Sequence[tuple[str, PlanVersion]], places: Sequence[yaml.Node]) -> None:
        """Two entries of one resource must not hold at once, unless each says what it is priced as."""
        by_what: dict[tuple[str, str, str], list[tuple[PlanVersion, yaml.Node]]] = {}
        for (cluster, version), place in zip(found, places, strict=True):
            by_what.setdefault((cluster, version.namespace, version.resource), []).append((version, place))
        for (cluster, namespace, resource), mine in by_what.items():
            for (one, _), (other, place) in itertools.combinations(mine, 2):
                if one.price_key and other.price_key and key_sku(one.price_key) != key_sku(other.price_key):
                    continue
                start_ms = max(one.from_ms, other.from_ms)
                if one.holds(start_ms) and other.holds(start_ms):
                    since = format_instant(start_ms) if start_ms else "the beginning"
                    named = f"{cluster} / {namespace} / {resource}"
                    want = "want an `until` on the earlier one, or a price_key of its own on each"
                    self._problem(place, f"{named}: two entries hold from {since} on: {want}")

    def _mapping(self, node: yaml.Node | None, place: str, known: Sequence[str]) -> dict[str, yaml.Node] | None:
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, f"{place.rstrip('.') or 'the file'}: want a mapping with {', '.join(known)}")
            return None
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value not in known:
                self._problem(key, f"{place}{key.value}: not a key of this file: want one of {', '.join(known)}")
            elif key.value in found:
                self._problem(key, f"{place}{key.value}: is there twice")
            else:
                found[key.value] = value
        return found

    def _text(self, values: dict[str, yaml.Node], key: str, place: str, read: Callable[[str], T]) -> T | None:
        """The value of a key; None where it is not there, or cannot be read."""
        node = values.get(key)
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode):
            self._problem(node, f"{place}{key}: want a text or number")
            return None
        if is_null(node):
            self._problem(node, f"{place}{key}: null: want a text or number")
            return None
        try:
            return read(node.value)
        except ValueError as error:
            said = str(error)
            seen = "" if said.startswith(repr(node.value)) else f"{node.value!r}: "
            self._problem(node, f"{place}{key}: {seen}{said}")
            return None

    def _instant(self, text: str) -> int:
        return parse_instant(text, self._timezone)

    def _problem(self, node: yaml.Node | None, what: str) -> None:
        line = 1 if node is None else node.start_mark.line + 1
        self.problems.append(f"{self._name}:{line}: {what}")


def _name(text: str) -> str:
    if not (0 < len(text) <= _NAME_CHARS_MAX and text.isprintable() and text == text.strip()):
        raise ValueError(f"want a name of 1 to {_NAME_CHARS_MAX} printable characters")
    return text


def _resource(text: str) -> str:
    if not is_gpu(text):
        raise ValueError(f"want a GPU resource as pods write it, such as {GPU}")
    return text


def _devices(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(DEVICES_MAX)) and int(text) <= DEVICES_MAX):
        raise ValueError(f"want a whole number of devices from 0 to {DEVICES_MAX}")
    return int(text)
