"""The chain of statements: each one's hash is over the one before it, and over all that it says itself.

So whoever has the newest hash can tell whether any statement before it was changed, left out or put in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

# What the first statement of a ledger follows.
BEGINNING = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a closed month says of an account.

    number          in the chain, from 1
    draft           of the month, that was closed
    lines_sha256    over all lines of the month, as the draft had them
    gpu_ms          whole-card time
    content         its rows of the monthly CSV
    """

    number: int
    month: str
    account: str
    draft: int
    lines_sha256: str
    gpu_ms: Fraction
    list_micros: int
    amount_micros: int
    content: bytes

    def sha256(self, previous: str) -> str:
        """previous: of the statement before it in the chain."""
        said = [
            previous, self.number, self.month, self.account, self.draft, self.lines_sha256, str(self.gpu_ms),
            self.list_micros, self.amount_micros,
        ]  # fmt: skip
        return sha256(json.dumps(said).encode() + b"\n" + self.content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A statement as it is kept, with the hashes that were written beside it."""

    statement: Statement
    previous_sha256: str
    sha256: str


def verify(links: Iterable[Link]) -> Iterator[str]:
    """What is wrong with a chain, from its beginning on. A link is judged by the hash that its forerunner claims."""
    previous, number = BEGINNING, 0
    for link in links:
        statement = link.statement
        name = f"{statement.month} {statement.account} (statement {statement.number})"
        number += 1
        if statement.number != number:
            yield f"{name}: want statement {number}: one before it is missing, or was put in"
            number = statement.number
        if link.previous_sha256 != previous:
            yield f"{name}: follows {link.previous_sha256}, and the one before it is {previous}"
        if (found := statement.sha256(link.previous_sha256)) != link.sha256:
            yield f"{name}: its content has {found}, and was closed as {link.sha256}"
        previous = link.sha256
