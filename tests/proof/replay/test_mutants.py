"""The list of mutants holds: each line is there, each subject is covered, and those that are tried are caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.proof.replay.mutants import LIST, Copies, Mutant, load_mutants, try_all
from tests.proof.replay.recording import Recording
from tests.proof.replay.verdict import findings

MUTANTS = load_mutants(LIST.read_text())
HARMLESS = Mutant(
    file="chargeback/core/money.py",
    before="MICROS = 1_000_000",
    after="MICROS = 10**6",
    breaks="nothing at all",
)
# One of an agent's, one of the ledger's, one of the export's, that are found soon.
TRIED = ("exporter/account.py", "chargeback/core/money.py", "chargeback/core/details.py")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.breaks)
def test_every_line_is_there_once(mutant: Mutant) -> None:
    assert mutant.problem() == ""


def test_metering_attribution_rating_and_export_are_covered() -> None:
    """Ten at least, none twice, in both programs."""
    assert len({(each.file, each.before) for each in MUTANTS}) == len(MUTANTS) >= 10
    files = {each.file for each in MUTANTS}
    assert files >= {
        "exporter/meter.py",
        "exporter/attribution.py",
        "chargeback/core/money.py",
        "chargeback/core/corrections.py",
        "chargeback/exports.py",
    }


def test_a_line_that_is_gone_is_told() -> None:
    """With the file, the line, and how often it is there."""
    gone = replace(MUTANTS[0], before="nothing of the kind")
    assert gone.problem() == f"{gone.file}: want once, and is there 0 times: nothing of the kind"
    assert replace(gone, file="exporter/none.py").problem() == "exporter/none.py: is not there"


def test_what_is_no_mutant_is_refused() -> None:
    """All of them at once, by number."""
    text = "mutants:\n- {file: a, before: b, after: c}\n- {file: a, before: b, after: c, breaks: d}\n- {file: a}\n"
    with pytest.raises(ValueError, match="mutant 1: want file, before, after, breaks\nmutant 3: want file"):
        load_mutants(text)


def test_a_mutant_is_made_and_unmade(tmp_path: Path) -> None:
    """With the indentation of the line that it replaces, and nothing else changed."""
    folder = tmp_path / "exporter"
    folder.mkdir()
    (folder / "some.py").write_text("if a:\n    b = 1\nc = 2\n")
    mutant = Mutant(file="exporter/some.py", before="b = 1", after="b = 2", breaks="b")
    with mutant.made(tmp_path, 1_000_000_000):
        assert (folder / "some.py").read_text() == "if a:\n    b = 2\nc = 2\n"
    assert (folder / "some.py").read_text() == "if a:\n    b = 1\nc = 2\n"


def test_what_does_not_end_is_neither_caught_nor_survives(tmp_path: Path) -> None:
    """Nor is it even: the run has failed."""
    outcome = Copies(tmp_path, 1, within_s=0.01).try_out(HARMLESS, trials=1)
    assert (outcome.caught, outcome.failed, outcome.word) == (False, True, "FAILED")
    assert outcome.by == "ended with -9: nothing ends within 0.01 s"


def test_what_cannot_be_imported_has_failed(tmp_path: Path) -> None:
    """It has been tried by nothing."""
    broken = replace(HARMLESS, after="MICROS =")
    outcome = Copies(tmp_path, 1).try_out(broken, trials=1)
    assert (outcome.caught, outcome.word, outcome.by) == (
        False,
        "FAILED",
        "ended with 1: SyntaxError: invalid syntax",
    )


def test_a_trial_that_raises_has_found_something() -> None:
    """Told from a difference by its first word."""

    async def falls(recording: Recording, folder: Path) -> list[str]:
        raise LookupError("no such line")

    assert next(findings({"as ever": falls})) == "cards, as ever: raised LookupError: no such line (1 differences)"


def test_some_are_caught_and_one_that_breaks_nothing_survives() -> None:
    """By the first trial alone; the others, and all trials, are `make proof-mutants`'s."""
    some = [next(each for each in MUTANTS if each.file == file) for file in TRIED]
    outcomes = list(try_all([*some, HARMLESS], 2, trials=1))
    assert [outcome.word for outcome in outcomes] == ["caught", "caught", "caught", "SURVIVED"]
    assert all("as it was: by the" in outcome.by for outcome in outcomes[:3])
    assert outcomes[3].by == ""
