"""The metrics page: a golden of a whole one, and what a device cannot say."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.energy import Energy
from exporter.families import FAMILIES, MIB, Page
from exporter.family import GAUGE, Family
from exporter.health import Health, Links, XidReading
from exporter.reading import CollectorResult, NodeReading
from exporter.samples import SpoolFigures, Standing
from exporter.sight import SeenHolding, Sight, UnknownHolding
from exporter.totals import Totals
from tests.exporter.builders import GIB, NOON_MS, card, gpu, holding, instance, mig_device, mig_gpu, node

GOLDEN = Path(__file__).with_name("metrics.txt")
PROMTOOL = shutil.which("promtool")

WHOLE = gpu(
    "GPU-a",
    memory_used_bytes=GIB,
    utilization_ratio=0.5,
    power_watts=123.5,
    energy_mj=7_500,
    temperature_celsius=41,
    health=Health(
        ecc_corrected=2,
        ecc_uncorrected=0,
        ecc_corrected_ever=12,
        ecc_uncorrected_ever=1,
        rows_remapped_corrected=0,
        rows_remapped_uncorrected=1,
        remap_pending=True,
        remap_failed=False,
        throttled={"power_cap": True, "hw_thermal": False},
        persistence=True,
        power_limit_watts=700.0,
        sm_clock_hertz=1_980_000_000,
        memory_clock_hertz=2_619_000_000,
    ),
    links=Links(
        pcie_sent_bytes_per_second=2_000,
        pcie_received_bytes_per_second=1_000,
        nvlink_sent_bytes=4096,
        nvlink_received_bytes=0,
    ),
    denied=frozenset({"nvmlDeviceGetPowerUsage"}),
)
CUT = mig_gpu(mig_device("MIG-a"), uuid="GPU-m", index=1)
BOTH = replace(node(WHOLE, CUT), xids_watched=frozenset({"GPU-a"}), on_bus=3)
XIDS = (
    XidReading(gpu="GPU-a", device="GPU-a", xid=31, count=2),
    XidReading(gpu="GPU-m", device="MIG-a", xid=43, count=1),
)
SEEN = Sight(
    observed=True,
    cards=(card("GPU-a"), card("GPU-m", index=1, mig=True, instances=(instance("MIG-a"),))),
    holdings=(holding("train-0", busy_ppm=250_000), holding("mig-0", "MIG-a", evidence="mig")),
    unknown_devices=1,
    unknown=(UnknownHolding(device="gpu.nvidia.com/n1/gpu-vfio-0", holder=holding("vm-0").holder),),
)

ENERGY = Energy(cards={"GPU-a": 2_500, "GPU-m": 700}, idle={"GPU-a": 0, "GPU-m": 600}, holdings=(2_500, 100))


def standing(reading: NodeReading | None, **changes: object) -> Standing:
    totals = Totals()
    totals.add(SEEN, 20_000, ENERGY, now_ms=NOON_MS)
    totals.add_xids(XIDS, now_ms=NOON_MS)
    values: dict[str, object] = {
        "node": "n1",
        "reading": reading,
        "sight": SEEN,
        "totals": totals,
        "collectors": (CollectorResult(name="gpus", duration_s=0.25, success=reading is not None),),
        "beats": 3,
        "beat_lag_s": 0.5,
        "beat_at_ms": NOON_MS,
        "steps_back": 1,
        "spool": SpoolFigures(bytes_used=4096, waiting=2, write_failures=1),
        "pushes": {"taken": 5, "failed": 1, "refused": 0},
        "taken_at_ms": NOON_MS - 1_500,
        "process": {
            "process_cpu_seconds_total": 12.5,
            "process_resident_memory_bytes": 48 * MIB,
            "process_virtual_memory_bytes": 400 * MIB,
            "process_start_time_seconds": NOON_MS / 1000 - 60,
            "process_open_fds": 12,
            "process_max_fds": 1024,
        },
    }
    return Standing(**(values | changes))  # type: ignore[arg-type]


def page(reading: NodeReading | None) -> str:
    text = Page().render(standing(reading)).decode()
    return re.sub(r'(gpu_exporter_build_info{version=)"[^"]*"', r'\1"1.2.3"', text)


def test_the_whole_page():
    """Written anew by deleting the file and running this test; what changes is seen in the diff."""
    text = page(BOTH)
    if not GOLDEN.exists():
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_promtool_finds_nothing_to_say():
    if PROMTOOL is None:
        pytest.skip("promtool is missing: install the Debian package prometheus")
    text = page(BOTH)
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_what_a_card_cannot_say_gives_no_sample():
    text = page(node(gpu("GPU-a", memory_used_bytes=None)))
    for name in ("gpu_power_watts", "gpu_energy_joules_total", "gpu_utilization_ratio", "gpu_memory_used_bytes"):
        assert f"\n{name}{{" not in text


def test_a_silent_card_is_down_and_says_nothing_else():
    text = page(None)
    assert (
        'gpu_up{gpu="0",mig_profile="",model="NVIDIA H100 80GB HBM3",node="n1",parent_uuid="",uuid="GPU-a"} 0.0'
        in text
    )
    assert "\ngpu_memory_total_bytes{" not in text
    assert 'gpu_exporter_collector_success{collector="gpus"} 0.0' in text


@pytest.mark.parametrize(("released", "answering"), [(True, []), (False, ["0.0"])])
def test_cards_that_nobody_asks_are_not_missing(released: bool, answering: list[str]):
    """While NVML is let go there is nothing to compare with; where reading failed, none has answered."""
    lines = Page().render(standing(None, released=released)).decode().splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("gpu_exporter_answering_gpus{")] == answering


def test_totals_of_a_device_that_is_gone_can_still_be_scraped():
    rendered = Page()
    before = standing(node(WHOLE, CUT))
    rendered.render(before)
    gone = Sight(observed=True, cards=(card("GPU-a"),))
    after = standing(node(WHOLE), sight=gone, totals=before.totals)
    assert 'gpu_held_seconds_total{container="main",gpu="1",mig_profile="1g.10gb"' in rendered.render(after).decode()


def test_another_table_is_rendered_over_the_same_readings():
    """As dcgm-exporter names and measures it: mebibytes, and labels of its own."""
    used = Family(
        GAUGE,
        "DCGM_FI_DEV_FB_USED",
        ("gpu", "UUID"),
        "Framebuffer memory used (in MiB).",
        lambda view: (
            ((device.labels[1], device.labels[0]), device.gpu.memory_used_bytes / MIB)
            for device in view.devices
            if device.gpu is not None and device.gpu.memory_used_bytes is not None
        ),
    )
    text = Page([used]).render(standing(node(WHOLE))).decode()
    assert [line for line in text.splitlines() if line[0] != "#"] == [
        'DCGM_FI_DEV_FB_USED{UUID="GPU-a",gpu="0"} 1024.0'
    ]


def test_who_holds_is_said_with_its_evidence_and_nobody_is_not_left_empty():
    """Two claims of one container are one series; an empty namespace would be filled in with the agent's own."""
    shared = holding("two", shares=(0,), busy_ppm=1)
    nobody = SeenHolding(device="GPU-b", shares=(0,), holder=shared.holder.nobody(), evidence="none")
    seen = Sight(
        observed=True,
        cards=(card("GPU-a"), card("GPU-b", index=1)),
        holdings=(shared, holding("two", shares=(1,)), nobody),
    )
    totals = Totals()
    totals.add(seen, 10_000, now_ms=NOON_MS)
    text = Page().render(standing(node(gpu("GPU-a")), sight=seen, totals=totals)).decode()

    def of_holders(name: str) -> dict[tuple[str, str], str]:
        lines = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
        keys = [re.search(r'namespace="(.*?)".*pod="(.*?)"', line) for line in lines]
        return {key.groups(): line.split()[-1] for key, line in zip(keys, lines, strict=True) if key}  # type: ignore[misc]

    assert of_holders("gpu_busy_known") == {("team", "two"): "0.0", ("platform:unattributed", ""): "0.0"}
    assert of_holders("gpu_held_info") == {("team", "two"): "1.0", ("platform:unattributed", ""): "1.0"}
    assert of_holders("gpu_held_seconds_total").keys() == {("team", "two"), ("platform:unattributed", "")}
    assert text.count('gpu_held_info{container="main"') == 1


def test_a_device_says_who_it_is_and_its_holder_is_another_series():
    """No figure of a device names a pod, so that its series goes on whoever comes and goes."""
    holders = {family.name for family in FAMILIES if "pod" in family.labels}
    assert holders == {
        "gpu_held_seconds_total", "gpu_held_info", "gpu_busy_seconds_total", "gpu_busy_known",
        "gpu_held_energy_joules_total", "gpu_unknown_device_held_seconds_total",
    }  # fmt: skip


def test_names_are_unique_and_say_what_they_are():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert all(name.startswith(("gpu_", "process_")) for name in names)
