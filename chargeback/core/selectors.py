"""Label selectors as kubectl writes them: `env=prod`, `env!=prod`, `env in (dev,test)`, `!env` and so on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from chargeback.core.owners.owners import check_label_key

# Commas separate requirements, but not those inside parentheses.
_PARTS = re.compile(r",(?![^()]*\))")
_SET = re.compile(r"(?P<key>\S+)\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUAL = re.compile(r"(?P<key>[^\s=!]+)\s*(?P<how>==|=|!=)\s*(?P<values>[^\s=!(),]*)")
_EXISTS = re.compile(r"(?P<not>!?)\s*(?P<key>[^\s=!(),]+)")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """values: one of them is wanted; None: any. negated: the contrary, which a label that is not there fulfils."""

    key: str
    values: frozenset[str] | None
    negated: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        has = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return has != self.negated


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """All of its requirements must be met; without any it matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


EVERYTHING = Selector()


def parse_selector(text: str) -> Selector:
    """Raises ValueError naming the part that cannot be read."""
    return Selector(requirements=tuple(_requirement(part.strip()) for part in _PARTS.split(text)))


def _requirement(part: str) -> Requirement:
    if match := _SET.fullmatch(part):
        values = [value.strip() for value in match["values"].split(",")]
        found = Requirement(key=match["key"], values=frozenset(values), negated=match["how"] == "notin")
    elif match := _EQUAL.fullmatch(part):
        found = Requirement(key=match["key"], values=frozenset([match["values"]]), negated=match["how"] == "!=")
    elif match := _EXISTS.fullmatch(part):
        found = Requirement(key=match["key"], values=None, negated=bool(match["not"]))
    else:
        raise ValueError(f"{part!r}: want KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY")
    try:
        check_label_key(found.key)
    except ValueError as error:
        raise ValueError(f"{found.key!r}: {error}") from error
    if wrong := sorted(value for value in found.values or () if not _VALUE.fullmatch(value)):
        raise ValueError(f"{wrong[0]!r}: no label has such a value")
    return found
