"""Settings as options: every command that needs some takes them from the one table of `chargeback/config.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from chargeback.config import Settings, SettingsError, read_settings
from chargeback.setting_table import SETTINGS
from chargeback.store.database import Database, DatabaseError, DatabaseUnavailable, open_database
from chargeback.store.schema import is_current

# Exit codes, the same for every command.
EXIT_INCOMPLETE = 1
EXIT_USAGE = 2

STORE = ("database", "data")

Command = TypeVar("Command", bound=Callable[..., Any])


class Failure(click.ClickException):
    """Said on stderr, one problem a line; ends with exit code 2."""

    exit_code = EXIT_USAGE

    def show(self, file: Any = None) -> None:
        click.echo(self.message, err=True)


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Options for the named settings (all, if none is named) and for the file that may hold them."""

    def add(command: Command) -> Command:
        for setting in reversed(SETTINGS):
            if not names or setting.name in names:
                default = f"; default {setting.default}" if setting.default else ""
                command = click.option(
                    f"--{setting.name}", metavar="VALUE", help=f"{setting.help}{default}  [{setting.variable}]"
                )(command)
        return click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            envvar="CHARGEBACK_CONFIG",
            help="YAML file of settings, by these names  [CHARGEBACK_CONFIG]",
        )(command)

    return add


def take_settings(options: dict[str, Any]) -> Settings:
    """Take the settings out of a command's options. Raises Failure with every problem."""
    flags = {setting.name: options.pop(setting.field, None) for setting in SETTINGS}
    try:
        return read_settings(flags, os.environ, options.pop("config", None))
    except SettingsError as error:
        raise Failure(str(error)) from error


def take_database(options: dict[str, Any]) -> Database:
    """Open the ledger that the options name; its schema is this release's. Raises Failure."""
    return open_ledger(take_settings(options))


def open_ledger(settings: Settings) -> Database:
    """Open the ledger of these settings; its schema is this release's. Raises Failure."""
    if not settings.database and not (settings.data / "ledger.db").exists():
        raise Failure(f"--data={settings.data}: no ledger.db in it: start `chargeback serve`, or name another folder")
    try:
        database = open_database(settings.database_url)
        current = is_current(database)
    except (DatabaseError, DatabaseUnavailable) as error:
        raise Failure(str(error)) from error
    if not current:
        raise Failure(
            "database: its schema is not this release's: start `chargeback serve`, or see `chargeback migrate`"
        )
    return database
