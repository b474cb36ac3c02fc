"""Law 2 with the second meter: whenever the words of agents and API come, and however often hours are rated."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chargeback.core.lines import Line
from chargeback.core.nodes import Node
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.ledger import lines_of_month
from chargeback.store.node_hours import differences_since
from chargeback.store.node_states import note_nodes
from chargeback.store.pods import GonePod
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all
from exporter import wire
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, MINUTE_MS, body, gpu, holding, put
from tests.chargeback.store.conftest import begin
from tests.chargeback.store.test_pods import at, note, pod

NOW = 10 * 60.0
Step = Callable[[Database], object]


def bodies() -> list[Step]:
    """Four hours of two cards; in the third the agent is blind, and in the fourth it was restarted."""

    def ms(minutes: float) -> int:
        return round(minutes * MINUTE_MS)

    def seen(*spans: tuple[float, float]) -> list[wire.Gpu]:
        return [gpu(uuid, observed=[(ms(a), ms(b)) for a, b in spans]) for uuid in ("GPU-1", "GPU-2")]

    def on(card: str, name: str, start: float, end: float) -> wire.Holding:
        return holding(card, pod=name, start=ms(start), end=ms(end))

    hours = [
        (seen((0, 60)), [on("GPU-2", "train", 10.1, 60), on("GPU-1", "old", 5, 60)]),
        (seen((0, 60)), [on("GPU-2", "train", 0, 60), on("GPU-1", "old", 0, 40), on("GPU-1", "new", 40, 60)]),
        (seen((0, 20)), [on("GPU-2", "train", 0, 20), on("GPU-1", "new", 0, 20)]),
        (seen((30, 60)), [on("GPU-2", "train", 30, 60)]),
    ]
    sent = [body(hour=HOUR + n, gpus=cards, holdings=held) for n, (cards, held) in enumerate(hours)]
    sent[3] = wire.decode(wire.encode(sent[3]).replace(b"agent-a", b"agent-b"))
    return [lambda database, one=one: put(database, one, at(NOW)) for one in sent]  # type: ignore[misc]


def words() -> list[Step]:
    """What the API says, in its order."""
    train, old, new = pod("train", 10), pod("old", 2), pod("new", 99)
    again = replace(train, uid="again", bound_ms=at(200))

    def nodes(now: float, *, cordoned: bool) -> Step:
        seen = [Node(name="n1", uid="n", created_ms=at(-600), cordoned=cordoned)]

        def tell(database: Database) -> object:
            with database.write() as connection:
                return note_nodes(connection, CLUSTER, seen, at(now))

        return tell

    return [
        nodes(5, cordoned=False),
        lambda database: note(database, 12, train, old),
        lambda database: note(database, 33, pod("job", 30), replace(old, terminal=True, finished_ms=at(25))),
        lambda database: note(database, 34, gone=[GonePod(pod=pod("job", 30), alive_ms=at(31), gone_ms=at(31))]),
        lambda database: note(database, 100, new),
        lambda database: note(database, 170, all_there=["uid-train", "uid-new"]),
        lambda database: note(database, 180, replace(train, terminal=True, finished_ms=at(175))),
        lambda database: note(database, 205, again, replace(new, terminal=True)),
        nodes(215, cordoned=True),
        lambda database: note(database, NOW),
    ]


def told(path: Path, chance: random.Random | None) -> tuple[list[Line], dict[str, dict[str, int]]]:
    """The ledger in the end: without chance, each word before any body; with it, mixed, and rated in between."""
    database = open_database(sqlite_url(path / "ledger.db"))
    migrate(database)
    begin(database)
    pushes, api = bodies(), words()
    if chance is None:
        steps = api + pushes
    else:
        chance.shuffle(pushes)
        turns = [True] * len(pushes) + [False] * len(api)
        chance.shuffle(turns)
        steps = [(pushes if push else api).pop(0) for push in turns]
    for step in steps:
        step(database)
        if chance is not None and chance.random() < 0.5:
            close_all(database, at(NOW), GRACE_MS)
    close_all(database, at(NOW), GRACE_MS)
    with database.read() as connection:
        lines = sorted(lines_of_month(connection, "2026-10"), key=lambda line: line.line_id)
        differences = differences_since(connection, HOUR)
    database.close()
    return lines, differences


@pytest.mark.parametrize("seed", range(6))
def test_the_ledger_is_the_same(seed: int, tmp_path: Path) -> None:
    """Line by line; and the meters did differ, in every way that a pod with a slot can."""
    (tmp_path / "first").mkdir()
    (tmp_path / "mixed").mkdir()
    lines, differences = told(tmp_path / "first", None)
    assert set(differences[CLUSTER]) == {"late", "early", "unobserved", "unseen"}
    mixed, mixed_differences = told(tmp_path / "mixed", random.Random(seed))
    assert mixed == lines
    assert mixed_differences == differences
