"""Scenarios from YAML: what the language does not know is refused, everything that is wrong at once."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from tests.nvml.fake import SHAPES
from tests.proof.comparison.shown_checks import SHOWN
from tests.proof.stage.scenario import VERBS, Apply, Card, Guarantee, Mig, Price, Scenario, Step

SCENARIOS = Path(__file__).with_name("scenarios")
COMPUTE_SLICES = 7
CARDS = 5  # that the stage has
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?")  # leaves room for what is put before and behind it
_WRONG = object()


class ScenarioError(Exception):
    """problems: each with where it is and what is wanted."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read_scenarios(folder: Path = SCENARIOS) -> dict[str, Scenario]:
    """All of a folder by name, in the order of the files' names. Raises ScenarioError, with the problems of all."""
    found, problems = {}, []
    for path in sorted(folder.glob("*.yaml")):
        try:
            scenario = read_scenario(path.read_text(), path.name)
        except ScenarioError as error:
            problems += error.problems
            continue
        if scenario.name in found:
            problems.append(f"{path.name}: name: {scenario.name}: another file has it")
        found[scenario.name] = scenario
    if problems:
        raise ScenarioError(problems)
    return found


def read_scenario(text: str, where: str) -> Scenario:
    """Raises ScenarioError."""
    problems: list[str] = []
    made = _Reader(where, problems).value(Scenario, yaml.safe_load(text), "")
    if isinstance(made, Scenario) and not problems:
        problems += [f"{where}: {problem}" for problem in _contradictions(made)]
    if problems:
        raise ScenarioError(problems)
    return made  # type: ignore[no-any-return]


class _Reader:
    """Makes values of what YAML gave; notes what does not fit, and goes on."""

    def __init__(self, where: str, problems: list[str]) -> None:
        self._where, self._problems = where, problems

    def value(self, want: Any, found: Any, at: str) -> Any:
        """The value as `want` would have it, or _WRONG. at: the keys that lead to it."""
        if want is Card:
            return self._card(found, at)
        if want is Step:
            return self._step(found, at)
        if dataclasses.is_dataclass(want):
            return self._fields(want, found, at)
        origin, parts = get_origin(want), get_args(want)
        if origin in (Union, types.UnionType):
            return None if found is None else self.value(parts[0], found, at)
        if origin is Literal:
            return found if found in parts else self._wrong(at, found, f"one of {', '.join(parts)}")
        if origin is tuple:
            return self._list(parts, found, at)
        if origin is Mapping:
            return self._mapping(parts[1], found, at)
        return self._plain(want, found, at)

    def _plain(self, want: type, found: Any, at: str) -> Any:
        if want is float and type(found) is int:
            return float(found)
        if type(found) is not want:
            names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
            return self._wrong(at, found, names[want])
        return found

    def _list(self, parts: tuple[Any, ...], found: Any, at: str) -> Any:
        if not isinstance(found, list):
            return self._wrong(at, found, "a list")
        wants = [parts[0]] * len(found) if parts[-1] is Ellipsis else list(parts)
        if len(wants) != len(found):
            return self._wrong(at, found, f"{len(wants)} of them")
        made = [
            self.value(each, entry, f"{at}[{i}]") for i, (each, entry) in enumerate(zip(wants, found, strict=True))
        ]
        return _WRONG if _WRONG in made else tuple(made)

    def _mapping(self, want: Any, found: Any, at: str) -> Any:
        if not isinstance(found, dict):
            return self._wrong(at, found, "a mapping")
        made = {str(key): self.value(want, entry, f"{at}.{key}") for key, entry in found.items()}
        return _WRONG if _WRONG in made.values() else made

    def _card(self, found: Any, at: str) -> Any:
        if found == "whole":
            return Card()
        mig = self._list((str, ...), found, at)
        return _WRONG if mig is _WRONG else Card(mig=mig)

    def _step(self, found: Any, at: str) -> Any:
        if not isinstance(found, dict):
            return self._wrong(at, found, "a mapping")
        rest = dict(found)
        verb = VERBS.get(str(rest.pop("do", "")))
        if verb is None:
            return self._wrong(f"{at}.do", found.get("do"), f"one of {', '.join(VERBS)}")
        return self._fields(verb, rest, at)

    def _fields(self, want: Any, found: Any, at: str) -> Any:
        if not isinstance(found, dict):
            return self._wrong(at, found, "a mapping")
        hints, fields = get_type_hints(want), {field.name: field for field in dataclasses.fields(want)}
        made = {}
        for key, entry in found.items():
            inner = f"{at}.{key}".lstrip(".")
            made[key] = self.value(hints[key], entry, inner) if key in fields else self._unknown(inner, fields)
        for name, field in fields.items():
            needed = field.default is field.default_factory is dataclasses.MISSING
            if needed and name not in found:
                self._problems.append(f"{self._where}: {at}.{name}: missing".replace(": .", ": "))
                made[name] = _WRONG
        return _WRONG if _WRONG in made.values() else want(**made)

    def _unknown(self, at: str, fields: Mapping[str, Any]) -> Any:
        self._problems.append(f"{self._where}: {at}: not known: want one of {', '.join(fields)}")
        return _WRONG

    def _wrong(self, at: str, found: Any, want: str) -> Any:
        self._problems.append(f"{self._where}: {at or 'the file'}: {found!r}: want {want}")
        return _WRONG


def _contradictions(scenario: Scenario) -> Iterator[str]:
    """What is well formed, and cannot be."""
    if len(scenario.cards) > CARDS:
        yield f"cards: {len(scenario.cards)}: the stage has {CARDS}"
    for number, card in enumerate(scenario.cards):
        yield from _cut_problems(card.mig, f"cards[{number}]")
    yield from _sharing_problems(scenario)
    for name in (scenario.name, *scenario.namespaces):
        if not _NAME.fullmatch(name):
            yield f"{name!r}: want at most 30 lower-case letters, digits and dashes"
    for price in scenario.prices:
        yield from _price_problems(price, "prices")
    applied: dict[str, float] = {}
    for number, step in enumerate(scenario.steps):
        at = f"steps[{number}]"
        yield from _step_problems(scenario, step, at)
        workload = (getattr(step, "namespace", ""), getattr(step, "name", ""))
        if isinstance(step, Apply):
            applied.setdefault("/".join(workload), step.at)
        elif (
            workload[0] in scenario.namespaces
            and workload[1]
            and step.at < applied.get("/".join(workload), step.at + 1)
        ):
            yield f"{at}.name: {workload[1]}: nothing of this name was applied before {step.at} s"
    for number, fault in enumerate(scenario.faults):
        if not 0 <= fault.between[0] < fault.between[1] <= scenario.until or fault.times < 1:
            yield f"faults[{number}]: want two moments before {scenario.until} s, the earlier first, and times from 1"
    for number, shown in enumerate(scenario.shows):
        if unknown := sorted(set(shown) - set(SHOWN)):
            yield f"shows[{number}]: {', '.join(unknown)}: want some of {', '.join(SHOWN)}"


def _sharing_problems(scenario: Scenario) -> Iterator[str]:
    """What NVIDIA's plugin refuses to share by MPS, and what the witness does not work out."""
    sharing = scenario.sharing
    if sharing.by == "mps" and sharing.replicas < 2:
        yield f"sharing.replicas: {sharing.replicas}: want 2 or more by MPS"
    if sharing.by == "mps" and (len(scenario.cards) < CARDS or any(card.mig for card in scenario.cards)):
        yield f"cards: by MPS no card may be cut: want {CARDS} that are whole"
    planned = any(each.plan for each in scenario.namespaces.values())
    if scenario.policy.sharing == "active" and (planned or any(isinstance(s, Guarantee) for s in scenario.steps)):
        yield "policy.sharing: active: want no plans beside it"


def _step_problems(scenario: Scenario, step: Step, at: str) -> Iterator[str]:
    if not 0 <= step.at <= scenario.until:
        yield f"{at}.at: {step.at}: want 0 to {scenario.until}, when the scenario is over"
    namespace = getattr(step, "namespace", None)
    if namespace is not None and namespace not in scenario.namespaces:
        yield f"{at}.namespace: {namespace}: want one of {', '.join(scenario.namespaces)}"
    card = getattr(step, "card", 0)
    if not 0 <= card < CARDS:
        yield f"{at}.card: {card}: the stage has {CARDS}, from 0"
    if not 0 <= getattr(step, "sm", 0) <= 100:
        yield f"{at}.sm: {getattr(step, 'sm', 0)}: want percent, 0 to 100"
    if isinstance(step, Mig):
        yield from _cut_problems(step.profiles, f"{at}.profiles")
    if isinstance(step, Apply):
        names = [container.name for container in step.containers]
        if len(set(names)) < len(names) or not any(each.role == "main" for each in step.containers):
            yield f"{at}.containers: want a main one, and a name of its own for each"
        if step.count < 1 or (step.kind == "pod" and step.count != 1):
            yield f"{at}.count: {step.count}: want 1 or more, of a job or a deployment"
    for price in getattr(step, "prices", ()):
        yield from _price_problems(price, f"{at}.prices")


def _cut_problems(profiles: tuple[str, ...], at: str) -> Iterator[str]:
    unknown = [profile for profile in profiles if profile not in SHAPES]
    if unknown:
        yield f"{at}: {', '.join(unknown)}: want some of {', '.join(SHAPES)}"
    elif sum(SHAPES[profile].compute for profile in profiles) > COMPUTE_SLICES:
        yield f"{at}: more than a card's {COMPUTE_SLICES} slices"


def _price_problems(price: Price, at: str) -> Iterator[str]:
    try:
        good = Decimal(price.price) >= 0
    except InvalidOperation:
        good = False
    if not good:
        yield f"{at}: {price.price!r}: want a decimal, such as '3.60'"
