"""The rules of owners as people write them: one YAML file, all its problems reported at once, each with its line.

```yaml
rules:
  - name: system
    namespaces: [kube-*, gpu-operator]
    cost-center: platform
    team: infra
  - name: sandboxes
    selector: env in (dev, test), !production
    tier: best-effort
    override: true
```
The first rule that matches wins. It fills in what the labels do not say; with `override` it wins over them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import yaml

from chargeback.core.owners.owners import check_name
from chargeback.core.owners.rules import OwnerRule, OwnerRules, check_glob, check_rule_name
from chargeback.core.selectors import EVERYTHING, parse_selector
from chargeback.files.plain_yaml import is_null

log = logging.getLogger(__name__)

T = TypeVar("T")

_NAMES = ("cost-center", "team", "tier")
_KNOWN = ("name", "namespaces", "selector", *_NAMES, "override")
_SWITCH = {"true": True, "false": False}


class OwnerRulesError(ValueError):
    """What is wrong with a file of rules: one problem a line."""


class OwnerRulesFile:
    """A file of rules; it is read again when it changes, and the new rules act from then on."""

    def __init__(self, file: Path) -> None:
        """Raises OwnerRulesError, OSError."""
        self._file = file
        self._stamp = file.stat().st_mtime_ns
        self._rules = read_owner_rules(file)
        self._problem = ""

    def current(self) -> OwnerRules:
        """The rules. A file that cannot be read any more leaves the old ones in force; that is logged once."""
        try:
            stamp = self._file.stat().st_mtime_ns
            if stamp != self._stamp:
                self._rules = read_owner_rules(self._file)
                self._stamp = stamp
                log.info("owner rules read", extra={"file": str(self._file), "rules": len(self._rules.rules)})
            self._problem = ""
        except (OwnerRulesError, OSError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                log.warning("owner rules not read", extra={"file": str(self._file), "error": self._problem})
        return self._rules


def read_owner_rules(file: Path) -> OwnerRules:
    """Raises OwnerRulesError, OSError."""
    try:
        return parse_owner_rules(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError as error:
        raise OwnerRulesError(f"{file}: want UTF-8 text: {error}") from error


def parse_owner_rules(text: str, name: str) -> OwnerRules:
    """Parse and check. Raises OwnerRulesError that lists every problem with its line."""
    try:
        # Nodes, for they know their line; scalars stay text, for a cost center 007 is not 7.
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise OwnerRulesError(f"{name}: not YAML: {error}") from error
    reader = _Reader()
    rules: list[OwnerRule] = []
    if not isinstance(root, yaml.MappingNode):
        reader.problem(root, "want a mapping with `rules`")
    else:
        entries = reader.mapping(root, "", ("rules",)).get("rules")
        if not isinstance(entries, yaml.SequenceNode):
            reader.problem(entries or root, "rules: want a list")
        else:
            rules = reader.rules(entries)
    if reader.problems:
        raise OwnerRulesError("\n".join(f"{name}:{line}: {what}" for line, what in sorted(reader.problems)))
    return OwnerRules(rules=tuple(rules))


class _Reader:
    """Reads nodes, collecting problems."""

    def __init__(self) -> None:
        self.problems: list[tuple[int, str]] = []

    def problem(self, node: yaml.Node | None, what: str) -> None:
        self.problems.append((node.start_mark.line + 1 if node is not None else 1, what))

    def mapping(self, node: yaml.MappingNode, place: str, known: tuple[str, ...]) -> dict[str, yaml.Node]:
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problem(key, f"{place}: want a text as key")
                continue
            if key.value not in known:
                self.problem(key, f"{place}{key.value}: not a key of this file, want one of {', '.join(known)}")
            elif key.value in found:
                self.problem(key, f"{place}{key.value}: again: want each key once")
            found[key.value] = value
        return found

    def rules(self, entries: yaml.SequenceNode) -> list[OwnerRule]:
        rules: list[OwnerRule] = []
        names: set[str] = set()
        catches_all: str | None = None
        for i, entry in enumerate(entries.value):
            if not isinstance(entry, yaml.MappingNode):
                self.problem(entry, f"rules[{i}]: {entry.value!r}: want a mapping")
                continue
            before = len(self.problems)
            rule = self._rule(entry, f"rules[{i}].")
            if rule.name in names:
                self.problem(entry, f"rules[{i}].name: {rule.name!r} again: want a name of its own for each rule")
            if catches_all is not None:
                self.problem(
                    entry, f"rules[{i}]: never reached: rule {catches_all} before it matches every namespace"
                )
            elif rule.matches_all and len(self.problems) == before:
                catches_all = rule.name
            names |= {rule.name} - {""}
            rules.append(rule)
        return rules

    def _rule(self, entry: yaml.MappingNode, place: str) -> OwnerRule:
        found = self.mapping(entry, place, _KNOWN)
        for key in {"name"} - found.keys():
            self.problem(entry, f"{place}{key}: missing")
        if not found.keys() & {"namespaces", "selector"}:
            self.problem(entry, f"{place}namespaces: missing: want it, or a selector, or both")
        if not found.keys() & set(_NAMES):
            self.problem(entry, f"{place}{_NAMES[0]}: missing: want at least one of {', '.join(_NAMES)}")
        rule = OwnerRule(
            name=self._text(found.get("name"), f"{place}name", check_rule_name) or "",
            selector=self._text(found.get("selector"), f"{place}selector", parse_selector) or EVERYTHING,
            cost_center=self._text(found.get("cost-center"), f"{place}cost-center", check_name),
            team=self._text(found.get("team"), f"{place}team", check_name),
            tier=self._text(found.get("tier"), f"{place}tier", check_name),
            override=self._text(found.get("override"), f"{place}override", _switch) or False,
        )
        return replace(rule, namespaces=self._globs(found["namespaces"], place)) if "namespaces" in found else rule

    def _globs(self, node: yaml.Node, place: str) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.problem(node, f"{place}namespaces: want a list of names, such as [team-*]")
            return ()
        globs = [self._text(each, f"{place}namespaces[{i}]", check_glob) for i, each in enumerate(node.value)]
        return tuple(glob for glob in globs if glob is not None)

    def _text(self, node: yaml.Node | None, place: str, read: Callable[[str], T]) -> T | None:
        """The value of a scalar; None where there is none, or it cannot be read."""
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode):
            self.problem(node, f"{place}: want a text")
            return None
        if is_null(node):
            self.problem(node, f"{place}: null: want a text")
            return None
        try:
            return read(node.value)
        except ValueError as error:
            self.problem(node, f"{place}: {node.value!r}: {error}")
            return None


def _switch(text: str) -> bool:
    if text not in _SWITCH:
        raise ValueError("want true or false")
    return _SWITCH[text]
