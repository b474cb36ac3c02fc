"""Mutants: a deliberate fault of one line each, and whether a replay of the recordings catches it.

    $ python -m tests.proof.replay.mutants [WORD …]   all, in a table; or those whose file or fault has such a word

Each is made in a copy of the tree, and every trial of `trials.py` is run there until one finds something. Exit 0: all
were caught; 1: one survived or could not be tried to its end, a line is not there any more, or the tree itself does
not come out even.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
LIST = Path(__file__).with_name("mutants.yaml")
COPIED = ("chargeback", "dashboards", "exporter", "migrations", "tests", "pyproject.toml")
FIELDS = ("file", "before", "after", "breaks")
WITHIN_S = 600.0  # all trials take two minutes on a machine that does nothing else
CAUGHT = 2  # what `verdict` ends with where it found something


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One line that becomes another. breaks: in the words of who would be billed so."""

    file: str
    before: str
    after: str
    breaks: str

    @property
    def module(self) -> str:
        return self.file.removesuffix(".py").replace("/", ".")

    def problem(self, root: Path = ROOT) -> str:
        """Why it cannot be made; empty where it can."""
        path = root / self.file
        if not path.is_file():
            return f"{self.file}: is not there"
        count = len(self._places(path))
        return "" if count == 1 else f"{self.file}: want once, and is there {count} times: {self.before}"

    @contextmanager
    def made(self, root: Path, at_s: float) -> Iterator[None]:
        """In a copy. at_s: the file's new time, another for each, so that no compiled file is taken for it."""
        path = root / self.file
        whole = path.read_text()
        lines = whole.splitlines(keepends=True)
        (place,) = self._places(path)
        indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
        lines[place] = f"{indent}{self.after}\n"
        try:
            path.write_text("".join(lines))
            os.utime(path, (at_s, at_s))
            yield
        finally:
            path.write_text(whole)
            os.utime(path, (at_s + 1, at_s + 1))

    def _places(self, path: Path) -> list[int]:
        return [place for place, line in enumerate(path.read_text().splitlines()) if line.strip() == self.before]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """by: the trial that caught it, and what it found, or why it failed; empty: it survived. took_s: of real time.

    failed  it could not be tried to its end, and is neither caught nor has it survived
    """

    mutant: Mutant | None
    caught: bool
    failed: bool
    by: str
    took_s: float

    @property
    def word(self) -> str:
        return "FAILED" if self.failed else "caught" if self.caught else "SURVIVED"


def load_mutants(text: str) -> list[Mutant]:
    """Raises ValueError for what is no list of mutants, all problems at once."""
    found = yaml.safe_load(text)["mutants"]
    problems = [
        f"mutant {number}: want {', '.join(FIELDS)}"
        for number, each in enumerate(found, 1)
        if set(each) != set(FIELDS)
    ]
    if problems:
        raise ValueError("\n".join(problems))
    return [Mutant(**each) for each in found]


class Copies:
    """Copies of the tree, one for each who works at a time."""

    def __init__(self, folder: Path, count: int, within_s: float = WITHIN_S) -> None:
        self._within_s = within_s
        self._free: queue.Queue[Path] = queue.Queue()
        self._time_s = time.time() + 10
        for number in range(count):
            copy = folder / str(number)
            copy.mkdir()
            for name in COPIED:
                _copy(ROOT / name, copy / name)
            self._free.put(copy)

    def try_out(self, mutant: Mutant | None, trials: int | None = None) -> Outcome:
        """The first trials, or all, until one finds something. None: the tree as it is."""
        copy = self._free.get()
        self._time_s += 10
        began_s = time.monotonic()
        try:
            with nullcontext() if mutant is None else mutant.made(copy, self._time_s):
                code, by = _run(copy, "" if mutant is None else mutant.module, trials, self._within_s)
        finally:
            self._free.put(copy)
        return Outcome(
            mutant=mutant,
            caught=code == CAUGHT,
            failed=code not in (0, CAUGHT),
            by=by if code in (0, CAUGHT) else f"ended with {code}: {by}",
            took_s=time.monotonic() - began_s,
        )


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("node_modules", ".*"))
    else:
        shutil.copy2(source, target)


def _run(copy: Path, module: str, trials: int | None, within_s: float) -> tuple[int, str]:
    """With what it ended, and the last that it said. A mutant whose trials never end says nothing of the bill."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, "-m", "tests.proof.replay.verdict", module, "" if trials is None else str(trials)]
    try:
        ended = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=within_s
        )
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL, f"nothing ends within {within_s:g} s"
    said = (ended.stdout.strip() or ended.stderr.strip()).splitlines()
    return ended.returncode, said[-1] if said else ""


def try_all(mutants: Sequence[Mutant | None], at_once: int, trials: int | None = None) -> Iterator[Outcome]:
    """In their order."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(at_once) as hands:
        copies = Copies(Path(folder), at_once)
        yield from hands.map(lambda mutant: copies.try_out(mutant, trials), mutants)


def chosen(mutants: Iterable[Mutant], words: Sequence[str]) -> list[Mutant]:
    return [each for each in mutants if not words or any(word in f"{each.file} {each.breaks}" for word in words)]


def main(words: Sequence[str]) -> int:
    mutants = load_mutants(LIST.read_text())
    if problems := [problem for each in mutants if (problem := each.problem())]:
        print("\n".join(problems), file=sys.stderr)
        return 1
    picked = chosen(mutants, words)
    fine = caught = 0
    for outcome in try_all([None, *picked], os.cpu_count() or 1):
        if outcome.mutant is None:
            fine = not outcome.caught and not outcome.failed
            print(
                f"{'even' if fine else 'NOT EVEN':9} {outcome.took_s:5.1f} s  the tree as it is {outcome.by}",
                flush=True,
            )
            continue
        caught += outcome.caught
        print(f"{outcome.word:9} {outcome.took_s:5.1f} s  {outcome.mutant.file}: {outcome.mutant.breaks}", flush=True)
        print(f"{'':9} {'':7}  by {outcome.by[:200]}", flush=True)
    print(f"{caught} of {len(picked)} mutants caught")
    return 0 if fine and caught == len(picked) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
