"""What a node-hour leaves to the next, as it is kept."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.existence import KnownGpu, KnownInstance
from chargeback.store.known import NOTHING, Known, read_known, write_known

numbers = st.integers(0, 3)
names = st.text(max_size=3)
instances = st.builds(
    KnownInstance, uuid=names, profile=names, gi=numbers, ci=numbers, c=numbers, g=numbers, m=numbers, shares=numbers
)
cards = st.builds(
    KnownGpu,
    uuid=names,
    model=st.sampled_from(["A", "B"]),
    memory_mib=numbers,
    slices_max=st.none() | numbers,
    memory_slices=numbers,
    last_observed_ms=numbers,
    mig=st.booleans(),
    shares=numbers,
    instances=st.lists(instances, max_size=2).map(tuple),
)
of_a_node = st.builds(
    Known,
    gpus=st.lists(cards, unique_by=lambda card: card.uuid).map(
        lambda those: tuple(sorted(those, key=lambda card: card.uuid))
    ),
    held=st.lists(st.tuples(names, numbers, names)).map(tuple),
)


@given(of_a_node)
def test_what_is_written_is_read(known: Known) -> None:
    assert read_known(write_known(known)) == known


@given(of_a_node)
def test_what_was_written_card_by_card_is_read(known: Known) -> None:
    """As ledgers have it that are older than this way of writing."""
    assert read_known(msgspec.json.encode(known).decode()) == known


def test_nothing() -> None:
    assert read_known(write_known(NOTHING)) == NOTHING


def test_cards_that_are_alike_are_written_once() -> None:
    """A column longer than two kilobytes costs PostgreSQL much more."""
    alike = [
        KnownGpu(
            uuid=f"GPU-{n:036}",
            model="NVIDIA H100 80GB HBM3",
            memory_mib=81559,
            slices_max=7,
            last_observed_ms=n // 8,
        )
        for n in range(8)
    ]
    text = write_known(Known(gpus=tuple(alike)))
    assert text.count("H100") == 1
    assert all(card.uuid in text for card in alike)
