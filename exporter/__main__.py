"""`gpu-exporter` and `python -m exporter`: starts the program of cli.py in as little memory as it can do with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def _without_authorities() -> Iterator[None]:
    """aiohttp reads the host's certificate authorities twice when it is imported: 2 MiB, which only a push over TLS
    needs, and that reads them itself (cli.py)."""
    before = {name: os.environ.get(name) for name in _AUTHORITIES}
    os.environ |= dict.fromkeys(_AUTHORITIES, os.devnull)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def main() -> int:
    """As cli.main, with its exit codes."""
    with _without_authorities():
        from exporter.cli import main as run
    return run()


if __name__ == "__main__":
    sys.exit(main())
