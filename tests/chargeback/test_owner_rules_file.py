"""Files of owner rules: every problem at once, each with its line; read again when they change."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from chargeback.core.owners.owners import Namespace
from chargeback.files.owner_rules import OwnerRulesError, OwnerRulesFile, parse_owner_rules, read_owner_rules
from tests.programs import chargeback

RULES = """\
rules:
  - name: system
    namespaces: [kube-*, gpu-operator]
    cost-center: 007
    team: infra
  - name: sandboxes
    selector: env in (dev, test), !production
    tier: best-effort
    override: true
"""


def problems(text: str) -> list[str]:
    with pytest.raises(OwnerRulesError) as refused:
        parse_owner_rules(text, "r.yaml")
    return str(refused.value).splitlines()


def write(path: Path, text: str, stamp_s: int) -> None:
    path.write_text(text)
    os.utime(path, (stamp_s, stamp_s))


def test_rules_are_read_as_they_are_written() -> None:
    """Text stays text; what is not said is not there."""
    system, sandboxes = parse_owner_rules(RULES, "r.yaml").rules
    assert (system.namespaces, system.cost_center, system.team, system.tier) == (
        ("kube-*", "gpu-operator"), "007", "infra", None,
    )  # fmt: skip
    assert (system.override, sandboxes.override) == (False, True)
    assert sandboxes.matches(Namespace(name="x", labels={"env": "dev"}))
    assert not sandboxes.matches(Namespace(name="x", labels={"env": "dev", "production": ""}))


def test_null_in_quotes_is_a_name() -> None:
    (rule,) = parse_owner_rules('rules: [{name: r, namespaces: [a], team: "null"}]', "r.yaml").rules
    assert rule.team == "null"


def test_a_file_without_rules_names_nobody() -> None:
    assert parse_owner_rules("rules: []", "r.yaml").rules == ()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("namespaces: [a], team: t", "rules[0].name: missing"),
        ("name: r, team: t", "rules[0].namespaces: missing: want it, or a selector, or both"),
        ("name: r, namespaces: [a]", "rules[0].cost-center: missing: want at least one of cost-center, team, tier"),
        ("name: a b, namespaces: [a], team: t", "rules[0].name: 'a b': want a name of 1 to 63 letters"),
        ("name: r, namespaces: a, team: t", "rules[0].namespaces: want a list of names"),
        ("name: r, namespaces: [], team: t", "rules[0].namespaces: want a list of names"),
        ("name: r, namespaces: [Team-*], team: t", "rules[0].namespaces[0]: 'Team-*': want a name of a namespace"),
        ("name: r, namespaces: [[a]], team: t", "rules[0].namespaces[0]: want a text"),
        ('name: r, selector: "env=a/b", team: t', "rules[0].selector: 'env=a/b': 'a/b': no label has such a value"),
        ("name: r, namespaces: [a], team: platform:idle", "rules[0].team: 'platform:idle': is an account"),
        ("name: r, namespaces: [a], tier: ''", "rules[0].tier: '': want 1 to 63 printable characters"),
        ("name: r, namespaces: [a], cost-center: null", "rules[0].cost-center: null: want a text"),
        ("name: r, namespaces: [a], team: ~", "rules[0].team: null: want a text"),
        ("name: r, namespaces: [a], team: {x: y}", "rules[0].team: want a text"),
        ("name: r, namespaces: [a], team: t, override: yes", "rules[0].override: 'yes': want true or false"),
        (
            "name: r, namespaces: [a], team: t, colour: red",
            "rules[0].colour: not a key of this file, want one of name",
        ),
        ("name: r, namespaces: [a], team: t, team: u", "rules[0].team: again: want each key once"),
        ("name: r, namespaces: [a], team: t, [x]: y", "rules[0].: want a text as key"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_named_with_its_line(entry: str, said: str) -> None:
    (problem,) = problems(f"rules:\n  - {{{entry}}}\n")
    assert problem.startswith(f"r.yaml:2: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "r.yaml:1: want a mapping with `rules`"),
        ("[a]", "r.yaml:1: want a mapping with `rules`"),
        ("\nrules: x", "r.yaml:2: rules: want a list"),
        ("rule: []", "r.yaml:1: rule: not a key of this file, want one of rules\nr.yaml:1: rules: want a list"),
        ("rules:\n- 7", "r.yaml:2: rules[0]: '7': want a mapping"),
        ("rules: [", "r.yaml: not YAML"),
    ],
)
def test_a_file_that_is_something_else_is_refused(text: str, said: str) -> None:
    assert "\n".join(problems(text)).startswith(said)


def test_a_rule_that_is_never_reached_and_a_name_used_twice_are_named() -> None:
    """Where order decides, both would be somebody's mistake."""
    text = RULES + "  - {name: all, namespaces: ['*'], team: t}\n  - {name: system, selector: a, team: t}\n"
    assert problems(text) == [
        "r.yaml:11: rules[3].name: 'system' again: want a name of its own for each rule",
        "r.yaml:11: rules[3]: never reached: rule all before it matches every namespace",
    ]


def test_all_problems_come_together_in_the_order_of_their_lines() -> None:
    said = problems("rules:\n  - name: a b\n    colour: red\n  - namespaces: a\n    team: t\n")
    assert [line.split(":")[1] for line in said] == ["2", "2", "2", "3", "4", "4"]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(OwnerRulesError, match="want UTF-8 text"):
        read_owner_rules(path)


def test_a_changed_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While it is wrong or away the rules before it hold, and the log says so once."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "r.yaml"
    write(path, RULES, 1)
    file = OwnerRulesFile(path)
    first = file.current()
    assert len(first.rules) == 2
    write(path, "rules: [", 2)
    assert [file.current() for _ in range(3)] == [first] * 3
    assert [record.message for record in caplog.records] == ["owner rules not read"]
    path.unlink()
    assert file.current() is first
    write(path, "rules: []", 4)
    assert file.current().rules == ()
    assert caplog.records[-1].message == "owner rules read"


def test_the_server_refuses_to_start_with_a_wrong_file(tmp_path: Path) -> None:
    """Exit 2, and the line."""
    path = tmp_path / "r.yaml"
    path.write_text("rules:\n  - {name: r}\n")
    settings = ("--data", str(tmp_path), "--listen", "127.0.0.1:0")
    ended = chargeback("serve", *settings, "--owner-rules", str(path), check=False)
    assert ended.returncode == 2
    assert f"{path}:2: rules[0].namespaces: missing" in ended.stderr.decode()
