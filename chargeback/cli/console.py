"""Where tables for people are printed."""

from __future__ import annotations

import sys

from rich.console import Console

# A pipe has no width: names must not be wrapped there, for people grep in it.
PIPE_COLUMNS = 200


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
