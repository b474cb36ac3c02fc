"""`make proof`: passes over the scenarios on one stage each, and a table at the end.

    python -m tests.proof --seed 7 --passes 1 --only storm,mig
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.control_plane import ADMIN_TOKEN
from tests.proof.reading import read_scenarios
from tests.proof.runner import run
from tests.proof.stage import stage
from tests.proof.witness import Witness


def main() -> int:
    """Exit 0: the product and the witness agree on everything; 1: they differ, or a scenario failed."""
    parser = argparse.ArgumentParser(prog="make proof", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the first pass; the next has the next")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--only", default="", help="names of scenarios, with commas; default: all")
    arguments = parser.parse_args()
    known = read_scenarios()
    names = [name for name in arguments.only.split(",") if name] or list(known)
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"--only: {', '.join(unknown)}: want some of {', '.join(known)}")
    return 0
