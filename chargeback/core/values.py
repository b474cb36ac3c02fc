"""Values that are made by the million."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """A frozen dataclass for whoever checks types, and for nobody else.

    To refuse assignments, a frozen class sets each of its own fields through a function: making one takes thrice as
    long, and that was a tenth of what closing an hour costs.
    """
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)


def variant_maker(cls: Any, changed: Sequence[str]) -> Callable[..., Any]:
    """A function that makes a value like another, but for some fields, given after it in this order.

    It copies slot by slot, written out as dataclasses write their `__init__`; `replace` takes ten times as long.
    """
    kept = [each.name for each in fields(cls) if each.name not in changed]
    assert len(kept) + len(changed) == len(fields(cls)), changed
    lines = [
        f"def make(old, {', '.join(changed)}):",
        "    new = new_of(cls)",
        *(f"    new.{name} = old.{name}" for name in kept),
        *(f"    new.{name} = {name}" for name in changed),
        "    return new",
    ]
    scope: dict[str, Any] = {"new_of": object.__new__, "cls": cls}
    exec("\n".join(lines), scope)
    made: Callable[..., Any] = scope["make"]
    return made
