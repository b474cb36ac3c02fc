"""YAML in which scalars stay text, a key that comes twice is refused, and what is null is told from a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

_NULLS = ("null", "Null", "NULL", "~")


class PlainLoader(yaml.BaseLoader):
    """Scalars stay text: an amount must never pass through a float. A key's null is None."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "want a text as key", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} comes twice", key.start_mark)
            seen.add(key.value)
        found = super().construct_mapping(node, deep)
        return found | {key.value: None for key, value in node.value if is_null(value)}


def is_null(node: yaml.Node) -> bool:
    """Whether it is YAML's word for nothing, as tools write what was not given; in quotes it is a name."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS


def take_nulls(node: yaml.Node, place: str = "") -> Iterator[str]:
    """Take away what is nothing below a node; the places where it was: `prices[0].tier`."""
    kept = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            at = f"{place}.{key.value}" if place else key.value
            if is_null(value):
                yield at
            else:
                yield from take_nulls(value, at)
                kept.append((key, value))
        node.value = kept
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            if is_null(value):
                yield f"{place}[{i}]"
            else:
                yield from take_nulls(value, f"{place}[{i}]")
