"""What an instance is of its card, for every part whose attributes are known: slices by the driver, no table of ours.

The figures are of `nvidia-smi mig -lgip` on these cards and of NVIDIA's list of profiles. Names and MiB change with
drivers, slices do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from chargeback.core.node_hour import Gpu, Instance
from chargeback.core.rating.timeline import fraction
from exporter.mig import MEMORY_SLICES, memory_slices, profile_name
from exporter.nvml import Nvml
from exporter.sight import Card
from tests.exporter.builders import kubelet, look
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml

# Card → its MiB and greatest number of instances; then each shape's name, g, GiB, how many fit, and c/C and m/M.
A30 = {
    "1g.6gb": (1, 5_836 / 1024, 4, "1/4", "2/8"),
    "2g.12gb": (2, 11_672 / 1024, 2, "2/4", "4/8"),
    "4g.24gb": (4, 23_344 / 1024, 1, "4/4", "8/8"),
}
RTX_PRO_6000 = {
    "1g.24gb": (1, 23.62, 4, "1/4", "2/8"),
    "2g.48gb": (2, 47.38, 2, "2/4", "4/8"),
    "4g.96gb": (4, 95.0, 1, "4/4", "8/8"),
}


def of_seven(gb: str, *gib: float) -> dict[str, tuple[int, float, int, str, str]]:
    """The shapes that all cards of seven slices have: 1g, 1g with double memory, 2g, 3g, 4g, 7g.

    gb   by which their names call their memory; gib: what it is
    """
    shapes = ((1, 7, 1), (1, 4, 2), (2, 3, 2), (3, 2, 4), (4, 1, 4), (7, 1, 8))
    each = zip(shapes, gb.split(), gib, strict=False)
    return {f"{g}g.{name}gb": (g, size, n, f"{g}/7", f"{m}/8") for (g, n, m), name, size in each}


PARTS = {
    ("A30", 24_125, 4): A30,
    ("RTX PRO 6000 Blackwell", 97_887, 4): RTX_PRO_6000,
    ("A100 40 GB", 40_960, 7): of_seven("5 10 10 20 20 40", 4.75, 9.62, 9.62, 19.5, 19.5, 39.25),
    ("A100 80 GB", 81_920, 7): of_seven("10 20 20 40 40 80", 9.6, 19.5, 19.5, 39.25, 39.25, 78.5),
    ("H100 80 GB", 81_559, 7): of_seven("10 20 20 40 40 80", 9.75, 19.62, 19.62, 39.5, 39.5, 79.25),
    ("H100 NVL", 95_830, 7): of_seven("12 24 24 47 47 94", 10.75, 21.62, 21.62, 46.38, 46.4, 92.62),
    ("H200", 143_771, 7): of_seven("18 35 35 71 71 141", 16.0, 32.25, 32.25, 69.5, 69.5, 140.0),
    ("B200", 183_359, 7): of_seven("23 45 45", 20.5, 44.25, 44.25),
    ("B200, another driver", 183_359, 7): of_seven("23", 22.0),
    ("GH200 144 GB", 147_456, 7): of_seven("18 36 36", 17.5, 35.25, 35.25),
}
ROWS = [
    pytest.param(mib, slots, name, *row, id=f"{part} {name}")
    for (part, mib, slots), shapes in PARTS.items()
    for name, row in shapes.items()
]


@pytest.fixture(scope="module", autouse=True)
def library(tmp_path_factory: pytest.TempPathFactory) -> None:
    driver.load(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    with FakeNvml(tmp_path / "state") as fake:
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        yield fake


def read(fake: FakeNvml) -> Card:
    """The node's only card as the agent sees it."""
    nvml = Nvml()
    try:
        (gpu,) = nvml.read().gpus
    finally:
        nvml.close()
    sight, _ = look(gpu, kubelet=kubelet())
    return sight.cards[0]


def parts_of(card: Card) -> list[tuple[Fraction, Fraction]]:
    """Of each instance: its part by compute slices alone, and by memory slices alone."""
    assert card.slices_max is not None
    of = Gpu(uuid=card.uuid, model=card.model, memory_mib=card.memory_mib, slices_max=card.slices_max)
    found = []
    for each in card.instances:
        instance = Instance(
            uuid=each.uuid, gpu=card.uuid, profile=each.profile, start=0, end=1,
            gi=each.gi, ci=each.ci, c=each.c, g=each.g, m=each.m,
        )  # fmt: skip
        found.append((fraction(instance, of, Fraction(1)), fraction(instance, of, Fraction(0))))
    return found


@pytest.mark.parametrize(("total_mib", "slots", "name", "g", "gib", "most", "compute", "memory"), ROWS)
def test_an_instance_is_what_its_attributes_say(
    fake: FakeNvml, total_mib: int, slots: int, name: str, g: int, gib: float, most: int, compute: str, memory: str
) -> None:
    """A card full of one shape: each instance has its part of NVIDIA's table, and all together never more than it."""
    card = fake.add_gpu(memory_mib=total_mib, mig=[])
    card.set(mig_slots=slots)
    for _ in range(most):
        instance = card.add_instance("1g.10gb", name="a name without a profile")
        instance.set(gpu_instance_slices=g, compute_instance_slices=g, memory_mib=round(gib * 1024))
    seen = read(fake)
    assert [each.profile for each in seen.instances] == [name] * most
    parts = parts_of(seen)
    assert parts == [(Fraction(compute), Fraction(memory))] * most
    assert sum(part for part, _ in parts) <= 1
    assert sum(part for _, part in parts) <= 1


@pytest.mark.parametrize("splits", [(1, 1, 1), (1, 2), (3,), (2,)])
def test_compute_instances_split_the_memory_of_their_gpu_instance(fake: FakeNvml, splits: tuple[int, ...]) -> None:
    """By their slices, so that the GPU instance is never counted twice; what none of them has is left over."""
    card = fake.add_gpu(mig=[])
    for ci, slices in enumerate(splits):
        card.add_instance("3g.40gb", gi=1, ci=ci).set(compute_instance_slices=slices)
    parts = parts_of(read(fake))
    assert parts == [(Fraction(slices, 7), Fraction(slices, 3) / 2) for slices in splits]
    assert sum(part for _, part in parts) == Fraction(sum(splits), 3) / 2


@pytest.mark.parametrize(
    "name", ["1g.10gb+me", "1g.24gb+me.all", "1g.24gb-me", "2g.48gb+gfx", "1c.3g.40gb", "7g.80gb"]
)
def test_a_profiles_suffix_is_the_drivers_own(fake: FakeNvml, name: str) -> None:
    """It cannot be worked out from attributes."""
    card = fake.add_gpu(mig=[])
    card.add_instance("1g.10gb", name=f"{driver.H100} MIG {name}")
    assert [each.profile for each in read(fake).instances] == [name]


def test_the_profiles_of_a_real_h100_fit_the_arithmetic() -> None:
    """As its driver listed them: names, slices, and how many fit beside each other."""
    survey = json.loads((Path(__file__).with_name("data") / "h100_survey.json").read_text())["static"]
    total_mib = survey["MemoryInfo_v2"]["total"] // 2**20
    profiles = [each for each in survey["profiles"].values() if "name" in each]
    assert len(profiles) == 7
    for each in profiles:
        slices, mib = each["sliceCount"], each["memorySizeMB"]
        worked_out = profile_name(
            compute_slices=slices, gpu_instance_slices=slices, memory_mib=mib, total_mib=total_mib
        )
        assert each["name"].removeprefix("MIG ").removesuffix("+me") == worked_out
        assert each["instanceCount"] * memory_slices(mib, total_mib) <= MEMORY_SLICES
        assert each["instanceCount"] * slices <= 7
