"""Tables for people, on terminals of any width: nothing is cut short, and what must not be broken is whole."""

from __future__ import annotations

import pytest
from rich.console import Console

from chargeback.cli.console import PIPE_COLUMNS, cell, table, text_of

KEYS = ("requests.nvidia.com/gpu", "requests.nvidia.com/mig-1g.10gb")
NAMESPACE = "team-07-machine-learning-platform"


def printed(columns: int) -> str:
    found = table("namespace", "=key", ">used", "note")
    for key in KEYS:
        found.add_row(*map(cell, (NAMESPACE, key, 1234567, "[a note] of several words")))
    return text_of(Console(width=columns), found)


@pytest.mark.parametrize("columns", [1, 40, 60, 80, 100, PIPE_COLUMNS])
def test_nothing_is_cut(columns: int) -> None:
    """Two keys that begin alike can be told apart, names go on in the next line, numbers are whole."""
    shown = printed(columns)
    assert "…" not in shown
    assert [key for key in KEYS if key in shown] == list(KEYS)
    assert shown.count("1234567") == 2
    letters = "".join(line.split(" ")[1] for line in shown.splitlines()[2:])
    assert letters == NAMESPACE * 2


def test_a_table_is_no_wider_than_the_terminal_where_that_can_be() -> None:
    assert max(map(len, printed(80).splitlines())) <= 80
    assert len(printed(PIPE_COLUMNS).splitlines()) == 4
