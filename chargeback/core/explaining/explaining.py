"""An explanation: what stands behind one line, in sections of facts, for people and for programs alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that is so. name: in words; value: for programs, None where only people ask; text: the other way."""

    name: str
    value: Any
    text: str | None

    @property
    def key(self) -> str:
        return self.name.replace(" ", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    name: str
    facts: tuple[Fact, ...]

    @property
    def key(self) -> str:
        return self.name.replace(" ", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """title, subtitle: the line in two sentences. reproduced: rating gives this very line; None: that cannot be told.

    corrects: of an adjustment, the explanation of the line that it is about
    """

    line_id: str
    title: str
    subtitle: str
    sections: tuple[Section, ...]
    reproduced: bool | None
    why: str
    corrects: Explanation | None = None


def fact(name: str, text: str | None, value: Any = None) -> Fact:
    """A fact that programs read as its text, or as a value of their own."""
    return Fact(name=name, value=text if value is None else value, text=text)


def section(name: str, facts: Iterable[Fact]) -> Section:
    """A section of the facts that are known: one whose text is empty or None is left out."""
    return Section(name=name, facts=tuple(each for each in facts if each.text or each.value not in (None, "", [])))


def as_json(explanation: Explanation) -> dict[str, Any]:
    """For programs: `{section: {fact: value}}`. Facts of one name stand in a list."""
    found: dict[str, Any] = {"line_id": explanation.line_id, "title": explanation.title}
    for each in explanation.sections:
        facts: dict[str, Any] = found.setdefault(each.key, {})
        for one in each.facts:
            if one.value is None:
                continue
            if one.key in facts:
                before = facts[one.key]
                facts[one.key] = [*before, one.value] if isinstance(before, list) else [before, one.value]
            else:
                facts[one.key] = one.value
    found["reproduced"] = {"answer": explanation.reproduced, "why": explanation.why}
    found["corrects"] = None if explanation.corrects is None else as_json(explanation.corrects)
    return found
