"""Options that say in which groups costs are shown, and which of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from chargeback.cli.values import reading_by
from chargeback.core.costs import check_group, check_groups


def groups_type(more: Sequence[str] = ()) -> Callable[[str], Any]:
    """The type of `--group-by`: names with commas between them."""
    return reading_by(lambda text: check_groups(text, more))


def where_option(more: Sequence[str] = ()) -> Callable[[Any], Any]:
    """`--where KEY=VALUE`, as pairs for `core.costs.check_where`."""

    def read(text: str) -> tuple[str, str]:
        name, found, value = text.partition("=")
        if not found:
            raise ValueError(f"{text!r}: want KEY=VALUE")
        return check_group(name, more), value

    return click.option(
        "--where",
        multiple=True,
        type=reading_by(read),
        metavar="KEY=VALUE",
        help="only this; again: of the same key any, of several keys all",
    )
