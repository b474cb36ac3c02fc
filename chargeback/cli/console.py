"""Where tables for people are printed, and how they look: no name, key or number in them is ever cut short."""

from __future__ import annotations

import sys

from rich.box import SIMPLE
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table
from rich.text import Text

# A pipe has no width: names must not be wrapped there, for people grep in it.
PIPE_COLUMNS = 200
# No cell is folded narrower than this.
FOLD_AT = 12
# Between two columns, beside their padding.
DIVIDER = 1


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def table(*columns: str) -> Table:
    """Headings. One that begins with > is of numbers; those and one that begins with = stay on one line."""
    found = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        whole = column.startswith((">", "="))
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        found.add_column(column.lstrip(">="), justify=justify, overflow="fold", no_wrap=whole)
    return found


def text_of(out: Console, found: Table) -> str:
    """A table without the blanks around it, for people who copy it.

    Where the terminal is too narrow, cells go on in the next line; where it is too narrow even for that, lines do.
    """
    width = out.width
    out.width = max(width, least_width(found))
    with out.capture() as captured:
        out.print(found)
    out.width = width
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def least_width(found: Table) -> int:
    """How many columns of a terminal the table needs; cells are not folded narrower than that."""
    for column in found.columns:
        texts = (column.header, *column.cells, column.footer)
        longest = max(len(line) for each in texts for line in _lines(each))
        column.min_width = longest if column.no_wrap else min(longest, FOLD_AT)
    _, right, _, left = found.padding
    return sum((column.min_width or 0) + left + right + DIVIDER for column in found.columns)


def _lines(text: object) -> list[str]:
    return Text.from_markup(str(text)).plain.splitlines() or [""]


def cell(text: object) -> str:
    return "" if text is None else escape(str(text))
