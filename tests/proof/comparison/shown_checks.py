"""What is said to befall a scenario leaves lines behind: where they are not, it never did, and nothing was proven."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.proof.comparison.case import Case, Difference
from tests.proof.comparison.export import HELD, Line
from tests.proof.comparison.part_checks import per_share

# What a scenario may ask of a line, as texts. part: of the card, for each of a holder's shares.
SHOWN = ("account", "kind", "of_kind", "evidence", "profile", "resource", "tier", "container", "part")


def check_shown(case: Case, wanted: Sequence[Mapping[str, str]]) -> Iterator[Difference]:
    for each in wanted:
        if not any(all(_said(line, name) == said for name, said in each.items()) for line in case.lines):
            said = ", ".join(f"{name} {value}" for name, value in each.items())
            yield Difference(
                kind="shown", subject=said, witness="the scenario leaves such a line", product="there is none"
            )


def _said(line: Line, name: str) -> str:
    if name == "part":
        return str(per_share(line)) if line.kind in HELD and line.ms else ""
    return str(getattr(line, name))
