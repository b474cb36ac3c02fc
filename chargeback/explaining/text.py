"""An explanation as people read it: from the amount down to where it comes from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from chargeback.core.explaining.explaining import Explanation, Section

_INDENT = "  "
# So wide is a line of text, on whatever terminal: people copy it.
COLUMNS = 110


def explanation_text(explanation: Explanation) -> str:
    """Lines of text; facts of one section stand under each other."""
    return "\n".join(_lines(explanation)) + "\n"


def _lines(explanation: Explanation) -> Iterator[str]:
    yield explanation.title
    yield explanation.subtitle
    width = max((len(each.name) for part in explanation.sections for each in part.facts if each.text), default=0)
    for part in explanation.sections:
        yield from _section(part, width)
    yield ""
    yield from _wrapped(f"{_answer(explanation.reproduced)}: {explanation.why}", "reproduced: ")
    if explanation.corrects is not None:
        yield ""
        yield "The line that it is about:"
        yield ""
        yield from (f"{_INDENT}{text}" if text else "" for text in _lines(explanation.corrects))


def _section(part: Section, width: int) -> Iterator[str]:
    shown = [each for each in part.facts if each.text]
    if not shown:
        return
    yield ""
    yield part.name
    before = ""
    for each in shown:
        # A name is said once for facts of one kind that follow each other.
        name = "" if each.name == before else each.name
        lead = f"{_INDENT}{name:<{width}}  "
        yield from _wrapped(each.text or "", lead)
        before = each.name


def _wrapped(text: str, lead: str) -> list[str]:
    """Names and ids are never broken: a line with one that is too long is longer."""
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _answer(reproduced: bool | None) -> str:
    return {True: "yes", False: "no", None: "that cannot be told"}[reproduced]
