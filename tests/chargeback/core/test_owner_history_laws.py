"""Whatever happens to a namespace, whenever it is looked at and whoever corrects it: its history keeps its laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chargeback.core.owners.history import CLEARED, CORRECTION, Learnt, Version, correct, learn, timeline
from chargeback.core.owners.owners import LabelKeys, Namespace, OwnerBook
from chargeback.core.owners.rules import OwnerRule, OwnerRules

START_MS = 1_700_000_000_000
SECOND_MS = 1000

Owned = tuple[str | None, ...] | None

LABELS = ("a", "b", "c", "d")
labels = st.sampled_from(LABELS)
values = st.sampled_from(["a", "b", "c"])
given_values = st.sampled_from([None, "", "x", "y"])


@dataclass
class Life:
    """A namespace as it really was. Times of the API are whole seconds."""

    uid: str
    created_ms: int
    labels: dict[str, tuple[str, int]] = field(default_factory=dict)
    seen_ms: int | None = None
    gone: bool = False

    def shown(self, keys: LabelKeys) -> Namespace:
        ours = [self.labels.get(key) for key in (keys.cost_center, keys.team, keys.tier)]
        return Namespace(
            name="n",
            uid=self.uid,
            created_ms=self.created_ms,
            labelled_ms=max((label[1] for label in ours if label), default=None),
            **keys.read({name: value for name, (value, _) in self.labels.items()}),
        )


def store(history: Sequence[Version], learnt: Learnt) -> list[Version]:
    """As the ledger does it."""
    kept = [replace(each, until_ms=learnt.ends.get(each.version, each.until_ms)) for each in history]
    return [*kept, *([learnt.added] if learnt.added else [])]


def owned(owner: Version | None) -> Owned:
    return None if owner is None else (owner.cost_center, owner.team, owner.tier)


class History(RuleBasedStateMachine):
    """One namespace name, its namespaces, a server that looks now and then, and people."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = START_MS
        self.looked_ms: int | None = None
        self.lives = [Life("u0", START_MS - 86_400_000)]
        self.rules = OwnerRules()
        self.keys = LabelKeys(cost_center="a", team="b", tier="c")
        self.history: list[Version] = []
        self.labels_seen: dict[str, tuple[str, int]] = {}

    @property
    def life(self) -> Life:
        return self.lives[-1]

    def second(self) -> int:
        return self.now_ms // SECOND_MS * SECOND_MS

    def at(self, instants: Sequence[int]) -> list[Owned]:
        pieces = timeline(self.history)
        found = [
            [p for p in pieces if p.from_ms <= at and (p.until_ms is None or at < p.until_ms)] for at in instants
        ]
        assert all(len(each) <= 1 for each in found)
        return [owned(each[0]) if each else None for each in found]

    def instants(self) -> list[int]:
        """Every border there is, and beside it."""
        borders = {at for each in self.history for at in (each.from_ms, each.until_ms) if at is not None}
        borders |= {self.now_ms, self.looked_ms or 0, *(life.created_ms for life in self.lives)}
        return sorted({at + by for at in borders for by in (-SECOND_MS, -1, 0, 1)})

    @rule(by=st.integers(min_value=1, max_value=5000))
    def wait(self, by: int) -> None:
        self.now_ms += by

    @precondition(lambda self: not self.life.gone)
    @rule(name=labels, value=st.one_of(st.none(), values))
    def label(self, name: str, value: str | None) -> None:
        self.now_ms += 1
        if value is None:
            self.life.labels.pop(name, None)
        else:
            self.life.labels[name] = (value, self.second())

    @precondition(lambda self: not self.life.gone)
    @rule()
    def delete(self) -> None:
        self.now_ms += 1
        self.life.gone = True

    @precondition(lambda self: self.life.gone)
    @rule(same_labels=st.booleans())
    def create(self, same_labels: bool) -> None:
        """No sooner than a second after, as the API takes its time to delete."""
        self.now_ms += SECOND_MS
        labels = (
            {name: (value, self.second()) for name, (value, _) in self.life.labels.items()} if same_labels else {}
        )
        self.lives.append(Life(f"u{len(self.lives)}", self.second(), labels))

    @rule(value=given_values, override=st.booleans())
    def configure(self, value: str | None, override: bool) -> None:
        given = OwnerRule(name="r", cost_center=value or None, override=override)
        self.rules = OwnerRules(rules=(given,))

    @rule(order=st.permutations(LABELS))
    def read_other_labels(self, order: Sequence[str]) -> None:
        self.keys = LabelKeys(cost_center=order[0], team=order[1], tier=order[2])

    @rule()
    def look(self) -> None:
        """What was seen before stays as it was; what is seen holds now, unless a person said otherwise."""
        self.now_ms += 1
        seen = None if self.life.gone else self.rules.apply(self.life.shown(self.keys))
        instants = self.instants()
        before = self.at(instants)
        arguments = {"source": "api", "now_ms": self.now_ms, "looked_ms": self.looked_ms}
        learnt = learn(self.history, seen, **arguments)  # type: ignore[arg-type]
        first = not any(each.is_seen for each in self.history)
        self.history = store(self.history, learnt)
        for at, was, holds in zip(instants, before, self.at(instants), strict=True):
            if not first and self.looked_ms is not None and at <= self.looked_ms - SECOND_MS:
                assert was == holds
            if learnt.from_ms is None or at < learnt.from_ms:
                assert was == holds
        self.check_corrections(learnt, seen)
        corrections = [each for each in self.history if not each.is_seen]
        if not any(each.until_ms is None or each.until_ms > self.now_ms for each in corrections):
            expected = None if seen is None else (seen.cost_center, seen.team, seen.tier)
            assert self.at([self.now_ms]) == [expected]
        again = learn(self.history, seen, source="api", now_ms=self.now_ms + 1, looked_ms=self.now_ms)
        assert again == Learnt()
        if seen is not None:
            if learnt.added is not None and self.life.seen_ms is not None and self.life.labels == self.labels_seen:
                assert self.looked_ms is not None
                within_its_second = learnt.added.from_ms > self.looked_ms - SECOND_MS
                assert learnt.added.from_ms == self.now_ms or within_its_second
            self.life.seen_ms = self.now_ms
        self.labels_seen = dict(self.life.labels)
        self.looked_ms = self.now_ms

    def check_corrections(self, learnt: Learnt, seen: Namespace | None) -> None:
        """One without an end holds until other labels are written, or there is no namespace; else it goes on."""
        for each in self.history:
            if each.source != CORRECTION:
                continue
            if seen is None:
                assert each.until_ms is not None
            elif learnt.added is not None and each.until_ms is None:
                assert each.from_ms > learnt.added.from_ms or each.recorded_ms >= learnt.added.from_ms
            if each.version in learnt.ends:
                assert seen is None or learnt.added is not None
                is_other = seen is None or self.life.seen_ms is None
                assert is_other or each.from_ms <= learnt.ends[each.version]
                assert is_other or learnt.ends[each.version] == learnt.added.from_ms  # type: ignore[union-attr]

    @precondition(lambda self: self.looked_ms is not None)
    @rule(
        start=st.integers(min_value=-100_000, max_value=20_000),
        length=st.one_of(st.none(), st.integers(min_value=1, max_value=50_000)),
        cost_center=given_values,
        team=given_values,
        clear=st.booleans(),
    )
    def correct(self, start: int, length: int | None, cost_center: str | None, team: str | None, clear: bool) -> None:
        """Inside its time what is given holds and the rest is as before; outside nothing changes."""
        self.now_ms += 1
        from_ms = self.now_ms + start
        correction = Version(
            namespace="n",
            from_ms=from_ms,
            until_ms=None if length is None else from_ms + length,
            cost_center=None if clear else cost_center,
            team=None if clear else team,
            source=CLEARED if clear else CORRECTION,
            recorded_ms=self.now_ms,
        )
        instants = [*self.instants(), from_ms - 1, from_ms, from_ms + (length or 1) - 1, from_ms + (length or 1)]
        before = self.at(instants)
        seen_only = OwnerBook(each for each in self.history if each.is_seen)
        try:
            recorded = correct(self.history, correction)
        except ValueError:
            assert length is None
            assert self.life.gone or len(self.lives) > 1
            return
        self.history.append(recorded)
        until_ms = recorded.until_ms
        for at, was, holds in zip(instants, before, self.at(instants), strict=True):
            if at < from_ms or (until_ms is not None and at >= until_ms):
                assert was == holds
            elif clear:
                below = seen_only.at("n", at)
                assert holds == (None if below is None else (below.cost_center, below.team, below.tier))
            else:
                then = was or (None, None, None)
                assert holds == (
                    then[0] if cost_center is None else cost_center or None,
                    then[1] if team is None else team or None,
                    then[2],
                )

    @invariant()
    def numbers_are_given_once_and_in_order(self) -> None:
        assert [each.version for each in self.history] == list(range(1, len(self.history) + 1))

    @invariant()
    def pieces_follow_one_another(self) -> None:
        pieces = timeline(self.history)
        ends = [piece.until_ms for piece in pieces]
        assert all(end is not None for end in ends[:-1])
        assert all(piece.until_ms is None or piece.from_ms < piece.until_ms for piece in pieces)
        starts = [piece.from_ms for piece in pieces]
        assert all(end is not None and end <= start for end, start in zip(ends, starts[1:], strict=False))

    @invariant()
    def there_is_an_owner_while_there_is_a_namespace(self) -> None:
        """From the creation of a namespace that was seen, to when it was seen last."""
        book = OwnerBook(timeline(self.history))
        for life in self.lives:
            if life.seen_ms is not None:
                borders = [at for at in self.instants() if life.created_ms <= at <= life.seen_ms]
                assert all(book.at("n", at) is not None for at in borders)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
