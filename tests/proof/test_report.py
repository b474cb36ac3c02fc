"""docs/proof.md is what `make proof` writes, and nobody has put a figure into it by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.proof.__main__ import judge
from tests.proof.outcome import Pass
from tests.proof.report import HEADER, PAGE, PASS_WITHIN_S, Page, Row, joined, last_line, read, render, write
from tests.proof.stage.reading import read_scenarios

ROOT = Path(__file__).resolve().parents[2]


def row(**fields: object) -> Row:
    figures = (Fraction("225.5"), Fraction(3), Fraction(700), Fraction("0.2255"))
    plain = {
        "scenario": "storm", "about": "A hundred Jobs: many.", "seeds": (1,), "pods": 100, "lines": 280,
        "totals": {"witness": figures, "product": figures},
        "ends_ms": 999, "money_micros": 0, "by_api_s": Fraction("53.8"), "gap_s": Fraction(0),
    }  # fmt: skip
    return Row(**(plain | fields))  # type: ignore[arg-type]


def test_passes_are_one_row_a_scenario() -> None:
    rows = joined(
        [row(), row(scenario="day", killed={"agent": 1}), row(seeds=(2,), ends_ms=400, killed={"agent": 2})]
    )
    assert [(each.scenario, each.seeds, each.pods, each.ends_ms, each.killed) for each in rows] == [
        ("storm", (1, 2), 200, 999, {"agent": 2}),
        ("day", (1,), 100, 999, {"agent": 1}),
    ]
    assert last_line(rows) == (
        "2 passes (seeds 1, 2) over 2 scenarios: 300 pods on 840 lines, killed agent 3 times; no line differs. "
        "Largest difference: 0.999 s at an end of a hold (the API server's stamps have whole seconds), "
        "0 micros of a line's money, given its ends."
    )


@pytest.mark.parametrize("seeds", [(1,), (1, 2), (1, 2, 3, 4, 5), (1, 3, 9)])
def test_a_page_that_is_read_is_the_same_page(seeds: tuple[int, ...]) -> None:
    rows = [row(seeds=seeds, killed={"api-server": 2, "agent": 1}), row(scenario="day", differences=3)]
    text = render(Page(rows=rows, pass_s=1_234))
    assert render(read(text)) == text
    assert "3 DIFFERENCES" in text
    assert "\nThe longest pass took 1234 s, of less than 1500 s.\n" in text


def test_the_page_has_the_form_that_is_written() -> None:
    assert render(read(PAGE.read_text())) == PAGE.read_text()


def test_the_page_is_of_runs_without_a_difference() -> None:
    rows = read(PAGE.read_text()).rows
    assert len(rows) >= 12
    assert all(each.differences == 0 and each.money_micros == 0 and each.ends_ms <= 1000 for each in rows)


def test_the_page_is_of_passes_in_time() -> None:
    assert read(PAGE.read_text()).in_time


def test_a_pass_that_takes_too_long_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And its page says so, though nothing differs."""
    codes = [
        judge([Pass(outcomes=[], took_s=took_s), Pass(outcomes=[], took_s=9)], whole=False, path=tmp_path / "page")
        for took_s in (PASS_WITHIN_S - 0.1, PASS_WITHIN_S)
    ]
    assert codes == [0, 1]
    assert capsys.readouterr().out.endswith("TOO LONG: a pass took 1500 s: want less than 1500\n")
    assert not (tmp_path / "page").exists()
    page = write([row()], PASS_WITHIN_S, tmp_path / "page")
    assert not page.in_time
    assert "The longest pass took 1500 s, TOO LONG: of less than 1500 s." in (tmp_path / "page").read_text()


def test_the_readme_quotes_its_last_line() -> None:
    """Wherever it speaks of passes over scenarios, and it does."""
    quoted = [
        line for line in (ROOT / "README.md").read_text().splitlines() if "scenarios: " in line and "seed" in line
    ]
    assert quoted
    assert all(last_line(read(PAGE.read_text()).rows) in line for line in quoted)


def test_the_page_is_of_all_scenarios() -> None:
    """By name: its figures may be of an earlier pass."""
    assert {each.scenario for each in read(PAGE.read_text()).rows} == set(read_scenarios())


def test_writing(tmp_path: Path) -> None:
    write([row(), row(seeds=(2,))], 99.1, tmp_path / "proof.md")
    page = (tmp_path / "proof.md").read_text()
    assert f"| {' | '.join(HEADER)} |" in page
    assert "The longest pass took 100 s, of" in page
    assert page.endswith(f"\n\n{last_line(joined([row(), row(seeds=(2,))]))}\n")
