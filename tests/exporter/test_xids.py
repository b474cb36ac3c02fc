"""XIDs from the fake driver's events to readings, metrics and the node-hour: each is counted once, none is missed.

What the fake believes: events reach only who registered before them, a reset ends a registration, and the wait for a
set with a lost card fails once nothing is left in it.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from exporter import wire
from exporter.account import Account
from exporter.clock import ReplayClock
from exporter.health import XidReading
from exporter.meter import Identity, Meter, Saved, body
from exporter.nvml import Nvml
from exporter.nvml.events import EVENTS_MAX
from exporter.reading import NodeReading
from exporter.totals import KEEPS_MS, Totals
from tests.exporter.builders import HOUR_MS, NOON_MS, card, instance, sight
from tests.exporter.whole_node import HANG_MS, WholeNode
from tests.nvml import fake as driver
from tests.nvml.fake import FakeGpu, FakeNvml
from tests.programs import wait_for

BEAT_MS = 10_000
SETS, REGISTER, WAIT = "nvmlEventSetCreate", "nvmlDeviceRegisterEvents", "nvmlEventSetWait_v2"
IDENTITY = Identity(cluster="lab", node="n1", instance="i1", started_ms=NOON_MS)


@pytest.fixture
def gpu(fake: FakeNvml) -> FakeGpu:
    return fake.add_gpu()


@pytest.fixture
def nvml(gpu: FakeGpu) -> Iterator[Nvml]:
    """Open, and the card has been read once: from then on its XIDs are told."""
    nvml = Nvml(ReplayClock(NOON_MS))
    nvml.read()
    yield nvml
    nvml.close()


def told(reading: NodeReading) -> dict[tuple[str, int], int]:
    """How often, by device and XID."""
    return {(each.device, each.xid): each.count for each in reading.xids}


def raised(xid: int, *, gpu: str = "GPU-a", device: str | None = None, count: int = 1) -> XidReading:
    return XidReading(gpu=gpu, device=device or gpu, xid=xid, count=count)


# The driver


def test_an_xid_between_two_readings_is_told_once(gpu: FakeGpu, nvml: Nvml) -> None:
    """By the next reading, and by none after it."""
    gpu.add_xid(31)
    assert told(nvml.read()) == {(gpu.uuid, 31): 1}
    assert told(nvml.read()) == {}


def test_two_of_the_same_count_twice(gpu: FakeGpu, nvml: Nvml) -> None:
    """Equal events are not one: that is what a gauge of the last XID cannot say."""
    for xid in (31, 31, 43):
        gpu.add_xid(xid)
    assert told(nvml.read()) == {(gpu.uuid, 31): 2, (gpu.uuid, 43): 1}


def test_what_was_raised_before_the_first_reading_is_nobody_s(fake: FakeNvml) -> None:
    """The driver tells only what comes after registration; then the card is watched."""
    gpu = fake.add_gpu()
    gpu.add_xid(31)
    nvml = Nvml()
    first = nvml.read()
    assert (first.xids, first.xids_watched) == ((), frozenset({gpu.uuid}))
    nvml.close()


def test_a_storm_is_told_in_parts_and_whole(
    fake: FakeNvml, gpu: FakeGpu, nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading fetches a bounded number; the rest is told by the next."""
    monkeypatch.setattr("exporter.nvml.events.EVENTS_MAX", 10)
    assert EVENTS_MAX > 10
    for _ in range(25):
        gpu.add_xid(74)
    assert [sum(told(nvml.read()).values()) for _ in range(4)] == [10, 10, 5, 0]


def test_an_xid_of_a_mig_instance_is_its_own(fake: FakeNvml) -> None:
    """By the ids of GPU and compute instance; one of the whole GPU instance is that of its only compute instance."""
    gpu = fake.add_gpu(mig=["3g.40gb", "1g.10gb"])
    nvml = Nvml()
    nvml.read()
    three, one = gpu.instances
    gpu.add_xid(43, gi=three.gi, ci=three.ci)
    gpu.add_xid(43, gi=one.gi)
    gpu.add_xid(94)
    reading = nvml.read()
    assert told(reading) == {(three.uuid, 43): 1, (one.uuid, 43): 1, (gpu.uuid, 94): 1}
    assert {each.gpu for each in reading.xids} == {gpu.uuid}
    nvml.close()


def test_an_xid_that_could_be_of_two_instances_is_the_card_s(fake: FakeNvml) -> None:
    """Of a GPU instance with two compute instances, or of ids that were given away anew since the last reading."""
    gpu = fake.add_gpu(mig=[])
    gpu.add_instance("1c.3g.40gb", gi=2, ci=0)
    gpu.add_instance("1c.3g.40gb", gi=2, ci=1)
    nvml = Nvml()
    nvml.read()
    gpu.add_xid(43, gi=2)
    assert told(nvml.read()) == {(gpu.uuid, 43): 1}
    gpu.add_xid(45, gi=2, ci=1)
    gpu.remake_mig([])
    gpu.add_instance("3g.40gb", gi=2, ci=1)
    gpu.instances[-1].set(uuid=b"MIG-another")
    assert told(nvml.read()) == {(gpu.uuid, 45): 1}
    nvml.close()


def test_an_xid_of_an_instance_that_is_gone_is_still_its(fake: FakeNvml) -> None:
    """It was there at the reading before."""
    gpu = fake.add_gpu(mig=["1g.10gb"])
    nvml = Nvml()
    nvml.read()
    (lost,) = gpu.instances
    gpu.add_xid(43, gi=lost.gi, ci=lost.ci)
    lost.destroy()
    assert told(nvml.read()) == {(lost.uuid, 43): 1}
    nvml.close()


def test_an_xid_before_the_driver_is_let_go_is_told_after(gpu: FakeGpu, nvml: Nvml) -> None:
    """close() fetches what is left; read() opens the driver and tells it."""
    gpu.add_xid(31)
    nvml.close()
    assert told(nvml.read()) == {(gpu.uuid, 31): 1}


def test_an_xid_while_the_driver_is_let_go_is_not_told_and_the_next_one_is(gpu: FakeGpu, nvml: Nvml) -> None:
    """Nobody listens then; the card is registered anew once the driver is open."""
    nvml.close()
    gpu.add_xid(31)
    assert told(nvml.read()) == {}
    gpu.add_xid(43)
    reading = nvml.read()
    assert told(reading) == {(gpu.uuid, 43): 1}
    assert reading.xids_watched == {gpu.uuid}


def test_an_xid_survives_a_reading_that_fails(fake: FakeNvml, gpu: FakeGpu, nvml: Nvml) -> None:
    """It was fetched before all cards refused to answer; the next reading that comes through tells it."""
    gpu.add_xid(31)
    fake.force("nvmlDeviceGetCount_v2", driver.UNKNOWN, times=1)
    with pytest.raises(Exception, match="nvmlDeviceGetCount"):
        nvml.read()
    assert told(nvml.read()) == {(gpu.uuid, 31): 1}


def test_a_lost_card_tells_why(fake: FakeNvml, gpu: FakeGpu, nvml: Nvml) -> None:
    """Its XID is told although it does not answer any more, and its neighbour goes on being watched."""
    other = fake.add_gpu()
    nvml.read()
    gpu.add_xid(79)
    gpu.lose()
    other.add_xid(31)
    reading = nvml.read()
    assert [each.uuid for each in reading.lost] == [gpu.uuid]
    assert told(reading) == {(gpu.uuid, 79): 1, (other.uuid, 31): 1}
    gpu.add_xid(119)
    assert told(nvml.read()) == {(gpu.uuid, 119): 1}


def test_a_card_that_came_back_is_registered_anew(gpu: FakeGpu, nvml: Nvml) -> None:
    """A reset ended its registration, so with the old one nothing would ever be told again."""
    gpu.lose()
    nvml.read()
    gpu.come_back()
    nvml.read()
    gpu.add_xid(31)
    assert told(nvml.read()) == {(gpu.uuid, 31): 1}


@pytest.mark.parametrize("call", [SETS, REGISTER])
def test_a_refusal_is_denied_by_name_and_costs_nothing_else(fake: FakeNvml, gpu: FakeGpu, call: str) -> None:
    """Asked once for as long as the driver is open; the card is read, and is not watched."""
    fake.force(call, driver.NO_PERMISSION)
    nvml = Nvml()
    for _ in range(2):
        reading = nvml.read()
        assert reading.gpus[0].denied == {call}
        assert (reading.xids, reading.xids_watched) == ((), frozenset())
    fake.relent()
    assert nvml.read().xids_watched == frozenset()
    nvml.close()
    assert nvml.read().xids_watched == {gpu.uuid}
    nvml.close()


def test_a_driver_without_events_is_not_watched_and_denies_nothing(fake: FakeNvml, gpu: FakeGpu) -> None:
    fake.force(REGISTER, driver.NOT_SUPPORTED)
    nvml = Nvml()
    reading = nvml.read()
    assert (reading.gpus[0].denied, reading.xids_watched) == (frozenset(), frozenset())
    nvml.close()


def test_a_registration_that_fails_for_a_moment_is_tried_again(fake: FakeNvml, gpu: FakeGpu) -> None:
    """The card is read meanwhile: what is only for watching must not make a card unhealthy."""
    fake.force(REGISTER, driver.UNKNOWN, times=1)
    nvml = Nvml()
    first, second = nvml.read(), nvml.read()
    assert (len(first.gpus), first.xids_watched) == (1, frozenset())
    assert second.xids_watched == {gpu.uuid}
    nvml.close()


def test_a_wait_that_fails_has_its_card_registered_anew(fake: FakeNvml, gpu: FakeGpu, nvml: Nvml) -> None:
    fake.force(WAIT, driver.UNKNOWN, times=1)
    assert len(nvml.read().gpus) == 1
    gpu.add_xid(31)
    assert told(nvml.read()) == {(gpu.uuid, 31): 1}


def test_who_takes_the_place_of_another_tells_its_xids(gpu: FakeGpu, nvml: Nvml) -> None:
    """Also those raised before; the old one, should it come back, tells none, and its end takes nothing away."""
    gpu.add_xid(31)
    heir = nvml.successor()
    gpu.add_xid(43)
    old, new = nvml.read(), heir.read()
    assert (told(old), old.xids_watched) == ({}, frozenset())
    assert told(new) == {(gpu.uuid, 31): 1, (gpu.uuid, 43): 1}
    nvml.close()
    gpu.add_xid(31)
    assert told(heir.read()) == {(gpu.uuid, 31): 1}
    heir.close()


# The account


def test_xids_are_counted_in_the_hour_that_is_open(tmp_path: Path) -> None:
    """By card and code; what a beat after the hour tells is the next hour's."""
    meter = Meter(beat_ms=BEAT_MS)
    last_ms = NOON_MS + HOUR_MS - BEAT_MS
    meter.advance(sight(), last_ms)
    meter.add_xids([raised(31, count=2), raised(43, device="MIG-a")], last_ms)
    meter.add_xids([raised(31)], last_ms)
    (finished,) = meter.advance(sight(), last_ms + 2 * BEAT_MS)
    meter.add_xids([raised(79)], last_ms + 2 * BEAT_MS)
    assert body(finished, IDENTITY, seq=1).gpus[0].xids == {"31": 3, "43": 1}
    assert xids_of(meter) == {"79": 1}


def test_xids_survive_a_restart(tmp_path: Path) -> None:
    """The spool's state holds them; the one that goes on adds to them."""
    meter = Meter(beat_ms=BEAT_MS)
    meter.advance(sight(), NOON_MS)
    meter.add_xids([raised(31)], NOON_MS)
    data = msgspec.json.encode(meter.save())
    again = Meter(beat_ms=BEAT_MS, saved=msgspec.json.decode(data, type=Saved))
    again.advance(sight(), NOON_MS + BEAT_MS)
    again.add_xids([raised(31)], NOON_MS + BEAT_MS)
    assert xids_of(again) == {"31": 2}


def test_xids_of_a_beat_that_is_dropped_count_all_the_same() -> None:
    """The clock was set back: there is no time to account for, but there was an error."""
    meter = Meter(beat_ms=BEAT_MS)
    meter.advance(sight(), NOON_MS + BEAT_MS)
    meter.advance(sight(), NOON_MS)
    meter.add_xids([raised(31)], NOON_MS)
    assert xids_of(meter) == {"31": 1}


def test_codes_beyond_what_the_wire_takes_are_unknown_ones() -> None:
    """A driver that raises nonsense must not have the body refused."""
    meter = Meter(beat_ms=BEAT_MS)
    meter.advance(sight(), NOON_MS)
    meter.add_xids([raised(xid) for xid in range(1, 400)], NOON_MS)
    found = xids_of(meter)
    assert (len(found), sum(found.values())) == (256, 399)
    assert found["999"] == 399 - 255


def xids_of(meter: Meter) -> dict[str, int]:
    saved = meter.save()
    assert saved is not None
    account: Account = saved.account
    return dict(body(account, IDENTITY, seq=1).gpus[0].xids)


def test_counters_go_on_and_keep_the_last_time() -> None:
    totals = Totals()
    totals.add_xids([raised(31)], now_ms=NOON_MS)
    totals.add_xids([raised(31, count=2), raised(79)], now_ms=NOON_MS + BEAT_MS)
    totals.add_xids([], now_ms=NOON_MS + 2 * BEAT_MS)
    found = {key: (total.count, total.last_ms) for key, total in totals.xids.items()}
    assert found == {("GPU-a", 31): (3, NOON_MS + BEAT_MS), ("GPU-a", 79): (1, NOON_MS + BEAT_MS)}


def test_counters_of_an_instance_go_with_it_and_those_of_its_card_stay() -> None:
    """Else every instance ever made would stay on the page."""
    totals = Totals()
    cut = card("GPU-m", mig=True, instances=(instance("MIG-a"),))
    totals.add(sight(cut), BEAT_MS, now_ms=NOON_MS)
    totals.add_xids([raised(43, gpu="GPU-m", device="MIG-a"), raised(79, gpu="GPU-m")], now_ms=NOON_MS)
    totals.add(sight(card("GPU-m", mig=True)), BEAT_MS, now_ms=NOON_MS + KEEPS_MS + 1)
    assert set(totals.xids) == {("GPU-m", 79)}


# The whole


async def test_an_xid_is_on_the_page_and_in_the_node_hour(fake: FakeNvml, tmp_path: Path) -> None:
    """From the driver to what is pushed, which the aggregator reads; the counter stays on the next page."""
    with WholeNode(fake, tmp_path) as node:
        await node.agent.beat()
        assert "gpu_xid_errors_total{" not in node.agent.page.decode()
        node.held.add_xid(79)
        node.held.lose()
        half = node.cut.instances[0]
        node.cut.add_xid(43, gi=half.gi, ci=half.ci)
        for _ in range(2):
            await node.clock.sleep(BEAT_MS / 1000)
            await node.agent.beat()
        page = node.agent.page.decode()
        counted = dict(re.findall(r'^gpu_xid_errors_total{.*uuid="([^"]+)",xid="\d+"} (\S+)$', page, re.MULTILINE))
        assert counted == {node.held.uuid: "1.0", half.uuid: "1.0"}
        seen_s = (NOON_MS + BEAT_MS) / 1000
        times = re.findall(r"^gpu_xid_last_timestamp_seconds{.*} (\S+)$", page, re.MULTILINE)
        assert [float(each) for each in times] == [seen_s, seen_s]
        assert re.search(rf'^gpu_up{{.*uuid="{node.held.uuid}"}} 0.0$', page, re.MULTILINE)
        watched = re.findall(r'^gpu_exporter_xids_watched{.*uuid="([^"]+)"} (\S+)$', page, re.MULTILINE)
        assert dict(watched) == {node.held.uuid: "1.0", node.idle.uuid: "1.0", node.cut.uuid: "1.0"}
        counts = pushed(node)
    assert counts == {node.held.uuid: {"79": 1}, node.idle.uuid: {}, node.cut.uuid: {"43": 1}}


@pytest.mark.parametrize("call", ["nvmlDeviceGetPowerUsage", WAIT])
async def test_an_xid_of_a_driver_that_hangs_is_counted(fake: FakeNvml, tmp_path: Path, call: str) -> None:
    """Errors come when a driver hangs: one before, one meanwhile and one after are three; and no card is forgotten.

    What the hanging call itself has fetched, as the first card's here where it is the wait, is told once it is back.
    """
    with WholeNode(fake, tmp_path) as node:
        await node.agent.beat()
        node.held.add_xid(43)
        node.idle.add_xid(31)
        fake.force(call, delay_ms=HANG_MS, times=1)
        await node.clock.sleep(BEAT_MS / 1000)
        with node.hurried():
            await node.agent.beat()  # is given up
        node.idle.add_xid(31)
        await node.clock.sleep(BEAT_MS / 1000)
        await node.agent.beat()
        node.idle.add_xid(31)
        fake.relent()
        wait_for("the call has come back", lambda: fake.clients == 1)
        await node.clock.sleep(BEAT_MS / 1000)
        await node.agent.beat()
        counts = pushed(node)
        watched = re.findall(r"^gpu_exporter_xids_watched{.*} (\S+)$", node.agent.page.decode(), re.MULTILINE)
    assert (counts[node.held.uuid], counts[node.idle.uuid]) == ({"43": 1}, {"31": 3})
    assert watched == ["1.0", "1.0", "1.0"]


def pushed(node: WholeNode) -> dict[str, dict[str, int]]:
    """By card, as the aggregator reads it."""
    running = node.agent.running()
    assert running is not None
    return {gpu.uuid: gpu.xids for gpu in wire.decode(gzip.decompress(running.data)).gpus}
