"""`make proof`: passes over the scenarios, each pass on a stage of its own, and one table at the end.

Where all scenarios were played and nothing differed, docs/proof.md is written anew.

python -m tests.proof --seed 7 --passes 1 --only storm,mig
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster.control_plane import ADMIN_TOKEN, Refused
from tests.proof.comparison.comparison import compare
from tests.proof.outcome import Outcome, Pass, table
from tests.proof.report import PAGE, PASS_WITHIN_S, Row, row, write
from tests.proof.stage.reading import read_scenarios
from tests.proof.stage.runner import run
from tests.proof.stage.scenario import Scenario
from tests.proof.stage.stage import Stage, stage
from tests.proof.witness.witness import Witness

CHECKPOINT = "device-plugins/kubelet_internal_checkpoint"
DIFFERENCES_SHOWN = 20  # of a scenario
# What says that a part of the stage did not do in time what was asked of it.
UNPLAYABLE = (AssertionError, OSError, Refused, pytest.fail.Exception)


def main() -> int:
    """Exit 0: product and witness agree on everything; 1: they do not, a scenario could not be played, or a pass took
    too long."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the first pass; the next has the next (default: 1)")
    parser.add_argument("--passes", type=int, default=1, help="how many (default: 1)")
    parser.add_argument("--only", default="", help="names of scenarios, with commas (default: all)")
    arguments = parser.parse_args()
    # Else a stage that stands would be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    known = read_scenarios()
    names = [name for name in arguments.only.split(",") if name] or list(known)
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"--only: {', '.join(unknown)}: want some of {', '.join(known)}")
    seeds = range(arguments.seed, arguments.seed + arguments.passes)
    return judge([play_pass([known[name] for name in names], seed) for seed in seeds], whole=not arguments.only)


def judge(passes: Sequence[Pass], *, whole: bool, path: Path = PAGE) -> int:
    """Show all of it; where all scenarios were played and nothing differs, write the page. Returns the exit code."""
    outcomes = [outcome for each in passes for outcome in each.outcomes]
    longest_s = max(each.took_s for each in passes)
    _say(table(outcomes))
    good = all(each.good for each in outcomes)
    if good and whole:
        write(map(row_of, outcomes), longest_s, path)
        _say(f"written: {path}")
    if longest_s >= PASS_WITHIN_S:
        _say(f"TOO LONG: a pass took {longest_s:.0f} s: want less than {PASS_WITHIN_S}")
    return 0 if good and longest_s < PASS_WITHIN_S else 1


def play_pass(scenarios: Sequence[Scenario], seed: int) -> Pass:
    """All of them, one after the other, on one stage. One that cannot be played ends the pass."""
    began_s = time.monotonic()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="proof-") as folder, stage(Path(folder)) as made:
        _say(f"seed {seed}: the stage stands after {time.monotonic() - began_s:.0f} s")
        for scenario in scenarios:
            outcomes.append(play(made, scenario, seed))
            if outcomes[-1].failure:
                break
    took_s = time.monotonic() - began_s
    _say(f"seed {seed}: {len(outcomes)} of {len(scenarios)} scenarios in {took_s:.0f} s")
    return Pass(outcomes=outcomes, took_s=took_s)


def play(made: Stage, scenario: Scenario, seed: int) -> Outcome:
    """Run a scenario, compare both words on it, and print what differs."""
    began_s = time.monotonic()
    _say(f"\n{scenario.name}: {scenario.about}")
    witness = Witness(made.plane.url, ADMIN_TOKEN, made.node.kubelet_folder / CHECKPOINT)
    try:
        done = run(made, scenario, seed, witness, _say)
    except UNPLAYABLE as error:
        _say(f"{scenario.name}: NOT PLAYED: {error}")
        return Outcome(scenario=scenario, seed=seed, took_s=time.monotonic() - began_s, failure=str(error))
    comparison = compare(done.testimony, done.csv, done.strays, done.scenario.shows)
    for difference in comparison.differences[:DIFFERENCES_SHOWN]:
        _say(f"  DIFFERS {difference}")
    outcome = Outcome(
        scenario=scenario, seed=seed, took_s=time.monotonic() - began_s, run=done, comparison=comparison
    )
    _say(f"{scenario.name}: {outcome.verdict} in {outcome.took_s:.0f} s")
    return outcome


def row_of(outcome: Outcome) -> Row:
    """Of the page."""
    assert outcome.run is not None
    assert outcome.comparison is not None
    scenario, done = outcome.scenario, outcome.run
    return row(scenario.name, scenario.about, outcome.seed, done.killed, done.testimony, outcome.comparison)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
