"""Who changes something, and why: the options of every command that does."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any, TypeVar

import click

from chargeback.cli.options import Failure

Command = TypeVar("Command", bound=Callable[..., Any])


def people_options(*, required: bool = True) -> Callable[[Command], Command]:
    """--reason and --who. `taken` says what they come to: `reason, who = taken(reason, who)`."""

    def add(command: Command) -> Command:
        command = click.option("--who", help="who does it; default: the user that runs this")(command)
        return click.option("--reason", required=required, help="for those who ask later")(command)

    return add


def taken(reason: str | None, who: str | None) -> tuple[str, str]:
    """The reason, "" where none was asked for or given; and who gives it. Raises Failure for an empty one."""
    return "" if reason is None else given("reason", reason), given("who", _user() if who is None else who)


def given(option: str, text: str) -> str:
    """A text that says something. Raises Failure."""
    if not text.strip():
        raise Failure(f"--{option}: {text!r}: want a text")
    return text.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError) as error:
        raise Failure("--who: missing: this user has no name, want yours") from error
