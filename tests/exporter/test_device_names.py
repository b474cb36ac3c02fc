"""Names that plugins and DRA drivers give devices, and the devices they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.device_names import DeviceNames
from exporter.sight import Card, Instance
from tests.exporter.builders import card

CARD = "GPU-7d0f2c1e-41aa-4e0f-9d6b-0c8f2a9be351"


def made(
    uuid: str, *, gi: int, ci: int = 0, profile: str = "1g.10gb", profile_id: int | None = 19, start: int | None = 0
) -> Instance:
    return Instance(uuid=uuid, profile=profile, gi=gi, ci=ci, c=1, g=1, m=1, profile_id=profile_id, start=start)


def of_a_mig_card(*instances: Instance, minor: int | None = 3) -> DeviceNames:
    return DeviceNames([card(CARD, minor=minor, mig=True, instances=instances)])


TWO = (made("MIG-a", gi=9, start=2), made("MIG-b", gi=13, start=6))


@pytest.mark.parametrize(
    ("name", "uuids"),
    [
        (CARD, (CARD,)),
        ("MIG-a", ("MIG-a",)),
        (f"MIG-{CARD}/13/0", ("MIG-b",)),
        (f"MIG-{CARD}/13/1", ()),
        ("MIG-GPU-other/13/0", ()),
        ("nvidia3", (CARD,)),
        ("nvidia0", ()),
        ("nvidia3/gi9", ("MIG-a",)),
        ("nvidia3/gi8", ()),
        ("gpu.nvidia.com/node-1/gpu-3", (CARD,)),
        ("gpu.nvidia.com/node-1/gpu-0", ()),
        ("gpu.nvidia.com/node-1/gpu-3-mig-1g10gb-19-2", ("MIG-a",)),
        ("gpu.nvidia.com/node-1/gpu-3-mig-1g10gb-19-6", ("MIG-b",)),
        ("gpu.nvidia.com/node-1/gpu-3-mig-19-6-1", ("MIG-b",)),
        ("gpu.nvidia.com/node-1/gpu-3-mig-1g10gb-19-4", ()),
        ("gpu.nvidia.com/node-1/gpu-3-mig-1g20gb-15-2", ()),
        ("gpu.nvidia.com/node-1/gpu-3-mig-", ()),
        ("gpu.nvidia.com/node-1/gpu-3-mig-x", ()),
        ("gpu.nvidia.com/node-1/gpu-vfio-3", ()),
        ("gpu-3", ()),
        ("0000:3b:00.0", ()),
        ("", ()),
    ],
)
def test_a_name_means_a_device_that_is_there_now(name: str, uuids: tuple[str, ...]) -> None:
    """By minor number, never by index; an instance by where it lies and its profile's id, or by its ids."""
    assert of_a_mig_card(*TWO).find(name) == uuids


def test_an_index_is_no_minor_number() -> None:
    """A card that does not say its own is known by its UUID only."""
    assert of_a_mig_card(*TWO, minor=None).find("nvidia0") == ()
    assert of_a_mig_card(*TWO, minor=None).find("gpu.nvidia.com/node-1/gpu-0") == ()


def test_a_gpu_instance_means_all_compute_instances_in_it() -> None:
    """Who was given the GPU instance has all of it."""
    names = of_a_mig_card(
        made("MIG-y", gi=1, ci=1, profile="1c.3g.40gb", profile_id=9, start=4),
        made("MIG-x", gi=1, ci=0, profile="2c.3g.40gb", profile_id=9, start=4),
        made("MIG-z", gi=2, profile="3g.40gb", profile_id=9, start=0),
    )
    assert names.find("nvidia3/gi1") == ("MIG-x", "MIG-y")
    assert names.find("gpu.nvidia.com/n/gpu-3-mig-3g40gb-9-4") == ("MIG-x", "MIG-y")


@pytest.mark.parametrize(
    ("profile", "in_name"),
    [
        ("1g.10gb", "1g10gb"),
        ("1g.10gb+me", "1g10gb-me"),
        ("1g.24gb-me", "1g24gb-me"),
        ("1g.24gb+me.all", "1g24gb-meall"),
        ("2g.48gb+gfx", "2g48gb-gfx"),
        ("1c.3g.40gb", "3g40gb"),
    ],
)
def test_where_no_placement_may_be_seen_the_only_one_of_a_profile_is_meant(profile: str, in_name: str) -> None:
    """Of two nobody can say which: that is for the metric of unknown devices, and nobody's bill."""
    name = f"gpu.nvidia.com/node-1/gpu-3-mig-{in_name}-5-4"
    one = made("MIG-a", gi=1, profile=profile, profile_id=None, start=None)
    other = made("MIG-b", gi=2, profile="7g.80gb", profile_id=None, start=None)
    assert of_a_mig_card(one, other).find(name) == ("MIG-a",)
    second = made("MIG-c", gi=3, profile=profile, profile_id=None, start=None)
    assert of_a_mig_card(one, second).find(name) == ()


def test_a_card_that_does_not_answer_gives_its_name_to_one_that_does() -> None:
    """Minor numbers move when a card is lost; of two that answer with one number neither is meant."""
    lost, next_one = card("GPU-old", minor=0, healthy=False), card("GPU-new", minor=0)
    assert DeviceNames([lost]).find("nvidia0") == ("GPU-old",)
    assert DeviceNames([lost, next_one]).find("nvidia0") == ("GPU-new",)
    assert DeviceNames([card("GPU-a", minor=0), card("GPU-b", minor=0)]).find("nvidia0") == ()


@given(st.permutations(range(7)), st.integers(0, 30))
def test_every_placement_of_a_full_card_has_its_own_name(starts: list[int], minor: int) -> None:
    """Whatever ids they got: each of seven instances answers to its placement, and to no other's."""
    instances = tuple(made(f"MIG-{start}", gi=7 + i, start=start) for i, start in enumerate(starts))
    cards: list[Card] = [card(CARD, minor=minor, mig=True, instances=instances), card("GPU-b", minor=minor + 1)]
    names = DeviceNames(cards)
    for start in range(7):
        assert names.find(f"gpu.nvidia.com/node/gpu-{minor}-mig-1g10gb-19-{start}") == (f"MIG-{start}",)
        assert names.find(f"gpu.nvidia.com/node/gpu-{minor + 1}-mig-1g10gb-19-{start}") == ()
