"""Rules name owners where labels do not: the first that matches, and labels win unless it overrides."""

from __future__ import annotations

import pytest

from chargeback.core.owners.owners import Namespace
from chargeback.core.owners.rules import NO_RULES, OwnerRule, OwnerRules, check_glob, check_rule_name
from chargeback.core.selectors import parse_selector

RULES = OwnerRules(
    rules=(
        OwnerRule(name="sandboxes", namespaces=("sandbox-*", "play"), tier="best-effort", override=True),
        OwnerRule(name="dev", selector=parse_selector("env=dev"), cost_center="rd"),
        OwnerRule(name="rest", cost_center="shared", team="ops"),
    )
)


def owner(name: str, labels: dict[str, str] | None = None, **fields: str) -> tuple[object, ...]:
    found = RULES.apply(Namespace(name=name, labels=labels or {}, **fields))  # type: ignore[arg-type]
    return (found.cost_center, found.team, found.tier, found.rule)


def test_the_first_that_matches_wins_and_no_other_is_asked() -> None:
    assert owner("sandbox-1", {"env": "dev"}) == (None, None, "best-effort", "sandboxes")
    assert owner("play") == (None, None, "best-effort", "sandboxes")
    assert owner("x", {"env": "dev"}) == ("rd", None, None, "dev")
    assert owner("x") == ("shared", "ops", None, "rest")


def test_labels_win_field_by_field_unless_it_overrides() -> None:
    assert owner("x", team="mine") == ("shared", "mine", None, "rest")
    assert owner("x", cost_center="c", team="mine") == ("c", "mine", None, None)
    assert owner("sandbox-1", cost_center="c", tier="gold") == ("c", None, "best-effort", "sandboxes")


def test_what_a_rule_gave_is_known() -> None:
    """So that a change of it is not dated by a label."""
    assert RULES.apply(Namespace(name="x", team="mine")).ruled == {"cost_center"}
    assert RULES.apply(Namespace(name="x", team="mine", cost_center="c")).ruled == frozenset()


def test_without_rules_labels_alone_say_it() -> None:
    namespace = Namespace(name="x", team="t")
    assert NO_RULES.apply(namespace) is namespace


@pytest.mark.parametrize(
    ("rule", "all_of_them"), [(RULES.rules[0], False), (RULES.rules[1], False), (RULES.rules[2], True)]
)
def test_a_rule_for_everything_is_known_as_one(rule: OwnerRule, all_of_them: bool) -> None:
    assert rule.matches_all is all_of_them


def test_globs_and_names_are_checked() -> None:
    assert check_glob("kube-*") == "kube-*"
    assert check_rule_name("a.B-1_c") == "a.B-1_c"
    for glob in ("Team-*", "", "a_b", "x" * 64):
        with pytest.raises(ValueError, match="want a name of a namespace"):
            check_glob(glob)
    for name in ("", "a b", "-a", "x" * 64):
        with pytest.raises(ValueError, match="want a name of 1 to 63"):
            check_rule_name(name)
