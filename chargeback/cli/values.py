"""Types of options: what was typed, checked; the error names the option, what was seen and what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from chargeback.core.hours import check_day, check_month, parse_instant
from chargeback.setting_texts import timezone


def reading_by(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """An option's type, of a function that raises ValueError."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            said = str(error)
            raise click.BadParameter(said if said.startswith(repr(text)) else f"{text!r}: {said}") from error

    return parse


def _instant(text: str) -> str:
    """Checked; a bare date is an instant only by the ledger's timezone."""
    parse_instant(text)
    return text


INSTANT = reading_by(_instant)
MONTH = reading_by(check_month)
DAY = reading_by(check_day)


def timezone_option(help: str) -> Callable[[Any], Any]:
    """`--timezone`, of what is read without a ledger."""
    zone = reading_by(timezone)
    return click.option("--timezone", type=zone, default="UTC", show_default=True, metavar="ZONE", help=help)
