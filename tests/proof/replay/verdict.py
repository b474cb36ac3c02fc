"""Whether this tree comes out even: every trial on every recording, until one finds something, and says what.

    $ python -m tests.proof.replay.verdict [MODULE [COUNT]]

MODULE must be imported from the folder that this is run in; only the first COUNT trials are made.

Exit 0: all came out even; 2: something was found (a trial that raises has found something, too: `raised …`); 3: the
module is another tree's; 1: as ever with Python, where it cannot be imported.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from tests.proof.replay.recording import NAMES, load
from tests.proof.replay.trials import TRIALS, UNFIT, Trial

EVEN, UNEVEN, ELSEWHERE = 0, 2, 3


def findings(trials: Mapping[str, Trial]) -> Iterator[str]:
    """The first difference of each trial that has some."""
    for what, trial in trials.items():
        for name in (each for each in NAMES if (each, what) not in UNFIT):
            with tempfile.TemporaryDirectory(prefix="trial-") as folder:
                try:
                    differences = asyncio.run(trial(load(name), Path(folder)))
                except Exception as error:  # noqa: BLE001 - whatever a mutant breaks, it is found
                    differences = [f"raised {type(error).__name__}: {error}"]
            if differences:
                yield f"{name}, {what}: {' '.join(differences[0].split())} ({len(differences)} differences)"


def main(module: str = "", count: str = "") -> int:
    logging.disable(logging.CRITICAL)
    if module:
        where = Path(importlib.import_module(module).__file__ or "").resolve()
        if not where.is_relative_to(Path.cwd().resolve()):
            print(f"{module} is {where}, not of {Path.cwd()}", file=sys.stderr)
            return ELSEWHERE
    trials = dict(islice(TRIALS.items(), int(count) if count else None))
    found = next(findings(trials), "")
    if found:
        print(found)
    return UNEVEN if found else EVEN


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
