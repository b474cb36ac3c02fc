"""The runbook: an entry an alert, and commands that there are."""

import re
import shlex
from pathlib import Path

import click
import promql_parser
import pytest
from click.testing import CliRunner

from chargeback.cli.main import main
from tests.dashboards.selectors import metric_names
from tests.dashboards.test_rules import METRICS, alerts

RUNBOOK = (Path(__file__).parents[2] / "docs/runbook.md").read_text()
ENTRIES = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))


def test_each_alert_has_its_entry_and_each_entry_its_alert() -> None:
    assert sorted(ENTRIES) == sorted(rule["alert"] for rule in alerts())
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_each_entry_says_how_grave_it_is() -> None:
    for rule in alerts():
        assert f"Severity `{rule['labels']['severity']}`." in ENTRIES[rule["alert"]], rule["alert"]


@pytest.mark.parametrize("name", ENTRIES)
def test_each_entry_says_what_it_means_whom_it_hurts_how_to_check_and_how_to_mend(name: str) -> None:
    assert re.findall(r"^\*\*(\w+)\.\*\*", ENTRIES[name], re.MULTILINE) == ["Meaning", "Impact", "Check", "Mend"]


def commands() -> list[list[str]]:
    """Every `chargeback …` in a block or in a line of text, cut into words; what one fills in is in capitals."""
    shown = re.findall(r"^\s*(chargeback [^\n|]+)$|`(chargeback [^`]+)`", RUNBOOK, re.MULTILINE)
    return [shlex.split(block or line) for block, line in shown]


def test_it_shows_commands() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_each_command_is_one_with_the_options_that_it_has(words: list[str]) -> None:
    """By its own --help, which names every option that is shown."""
    command: click.Command = main
    path = []
    for word in words[1:]:
        if not isinstance(command, click.Group):
            break
        assert word in command.commands, words
        path.append(word)
        command = command.commands[word]
    shown = CliRunner().invoke(main, [*path, "--help"])
    assert shown.exit_code == 0
    for option in [word for word in words if word.startswith("--")]:
        assert re.search(rf"{option}\b", shown.output), (option, words)


def test_what_it_asks_of_prometheus_parses_and_is_about_metrics_that_there_are() -> None:
    """Every block that is no command of a program."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```$", RUNBOOK, re.MULTILINE | re.DOTALL)
    asked = [block for block in blocks if not re.match(r" *(chargeback|kubectl) ", block)]
    assert len(asked) == 2
    for query in asked:
        promql_parser.parse(query)
        assert metric_names(query) <= METRICS


def test_the_metrics_that_it_names_are_some_that_there_are() -> None:
    named = set(re.findall(r"(?<![=\w])((?:chargeback|gpu)_[a-z_]+)\b", RUNBOOK))
    assert named - METRICS == set()
