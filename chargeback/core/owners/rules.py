"""Rules that say whose a namespace is where its labels do not: by its name and other labels, the first match wins."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from chargeback.core.owners.owners import FIELDS, Namespace
from chargeback.core.selectors import EVERYTHING, Selector

_GLOB = re.compile(r"[a-z0-9*?\[\]!-]{1,63}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRule:
    """namespaces: globs over names, any of which must match. override: its fields win over the labels'."""

    name: str
    namespaces: tuple[str, ...] = ("*",)
    selector: Selector = EVERYTHING
    cost_center: str | None = None
    team: str | None = None
    tier: str | None = None
    override: bool = False

    @property
    def matches_all(self) -> bool:
        return "*" in self.namespaces and not self.selector.requirements

    def matches(self, namespace: Namespace) -> bool:
        named = any(fnmatchcase(namespace.name, glob) for glob in self.namespaces)
        return named and self.selector.matches(namespace.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRules:
    """In their order. Without any, labels alone say who the owner is."""

    rules: tuple[OwnerRule, ...] = ()

    def apply(self, namespace: Namespace) -> Namespace:
        """The namespace with what its labels say, and what the first rule that matches adds or overrides."""
        rule = next((rule for rule in self.rules if rule.matches(namespace)), None)
        if rule is None:
            return namespace
        given = {name: value for name in FIELDS if (value := getattr(rule, name)) is not None}
        if not rule.override:
            given = {name: value for name, value in given.items() if getattr(namespace, name) is None}
        return replace(namespace, rule=rule.name, ruled=frozenset(given), **given) if given else namespace


NO_RULES = OwnerRules()


def check_glob(text: str) -> str:
    """A glob over names of namespaces. Raises ValueError."""
    if not _GLOB.fullmatch(text):
        raise ValueError("want a name of a namespace, in which * and ? may stand for others, such as team-*")
    return text


def check_rule_name(text: str) -> str:
    """Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError("want a name of 1 to 63 letters, digits, dots, dashes and underscores")
    return text
