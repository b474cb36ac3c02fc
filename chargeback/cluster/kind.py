"""A kind of objects: where the API lists it, and how one object is read into a value of the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[V]):
    """One kind. name: as the API names it, and as its table is called.

    of    what a body is decoded into; has metadata with uid and resource_version
    read  the value of one object; None: not one that we follow
    """

    name: str
    path: str
    of: Any
    read: Callable[[Any], V | None]
    query: tuple[tuple[str, str], ...] = ()

    def within(self, namespace: str) -> Self:
        """The same kind, in one namespace only."""
        before, _, last = self.path.rpartition("/")
        return replace(self, path=f"{before}/namespaces/{namespace}/{last}")
