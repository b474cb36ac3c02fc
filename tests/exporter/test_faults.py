"""A whole agent while its driver or its kubelet fails: it serves on, marks what it did not see, and comes back.

Real threads, ctypes and sockets; only the time of the account is simulated. What is booked is worked out by the
aggregator's own rating, whose lines must add up to all the time the cards existed.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import grpc
import pytest

from exporter.nvml import DriverChanged
from exporter.worker import LEFT_BEHIND_MAX
from tests.exporter.whole_node import BEAT_MS, HANG_MS, HURRIED_S, PATIENT_S, RESOURCE, WholeNode, ledger
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml
from tests.programs import running, wait_for

COUNT = "nvmlDeviceGetCount_v2"
HALF = Fraction(3, 7)


@pytest.fixture(scope="session")
def library_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture
def node(library_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WholeNode]:
    driver.load(library_dir)
    with FakeNvml(tmp_path / "state") as fake:
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        with WholeNode(fake, tmp_path) as node:
            yield node


def beats(count: Fraction | int) -> Fraction:
    return Fraction(count) * BEAT_MS


def booked(node: WholeNode, *, bad: int, gap: int = 0, good: int) -> None:
    """Of the beats so far: so many without a fault, in `bad` no card answered, in `gap` no kubelet."""
    rest = {"gap": beats(gap)} if gap else {}
    assert ledger(node.body()) == {
        node.held.uuid: {"train": beats(good + bad), **rest},
        node.idle.uuid: {"free": beats(good), **({"unhealthy": beats(bad)} if bad else {}), **rest},
        node.cut.uuid: {
            "tune": beats((good + bad) * HALF),
            "free": beats(good * HALF),
            "unpartitioned": beats(good * Fraction(1, 7)),
            **({"unhealthy": beats(bad * Fraction(4, 7))} if bad else {}),
            **rest,
        },
    }


def up(node: WholeNode) -> dict[str, str]:
    """By card, what the page says of whether it answers."""
    lines = [line for line in node.agent.page.decode().splitlines() if line.startswith("gpu_up{")]
    return {line.partition(',uuid="')[2].partition('"')[0]: line.split()[-1] for line in lines}


async def test_without_a_fault_all_is_held_or_idle(node: WholeNode) -> None:
    """What the others are compared with."""
    await node.beat(7)
    booked(node, good=6, bad=0)


async def test_a_call_that_hangs_costs_one_beat_and_no_handle(node: WholeNode) -> None:
    """It comes back late, and lets go of the driver that another thread has opened anew."""
    await node.beat(2)
    node.fake.force(COUNT, delay_ms=HANG_MS, times=1)
    with node.hurried():
        await node.beat()
    assert not node.success("gpus")
    assert node.success("holdings")
    await node.beat(4)
    assert node.success("gpus")
    booked(node, good=5, bad=1)
    assert node.fake.clients == 2
    node.fake.relent()
    wait_for("only one has the driver open", lambda: node.fake.clients == 1)


async def test_a_driver_that_hangs_for_long_is_left_alone_and_comes_back(node: WholeNode) -> None:
    """Only so many threads are spent on it; meanwhile the page is served and holders go on."""
    await node.beat(2)
    node.fake.set(delay_us=HANG_MS * 1000)
    with node.hurried():
        await node.beat(6)
    assert not node.success("gpus")
    assert "0.0" in next(line for line in node.agent.page.decode().splitlines() if line.startswith("gpu_up{"))
    assert node.fake.clients == LEFT_BEHIND_MAX
    node.fake.relent()
    wait_for("the calls have come back", lambda: node.fake.clients == 0)
    await node.beat(3)
    assert node.success("gpus")
    booked(node, good=4, bad=6)


async def test_a_card_that_hangs_for_long_costs_the_others_one_beat(node: WholeNode) -> None:
    """One thread stays in it; the next reads all other cards, and the card itself once the call has come back."""
    await node.beat(2)
    node.fake.force("nvmlDeviceGetMigMode", gpu=node.idle.index, delay_ms=HANG_MS, times=1)
    with node.hurried():
        await node.beat()
    await node.beat(3)
    assert node.success("gpus")
    assert up(node) == {node.held.uuid: "1.0", node.idle.uuid: "0.0", node.cut.uuid: "1.0"}
    node.fake.relent()
    wait_for("the call has come back", lambda: node.fake.clients == 1)
    await node.beat(3)
    assert set(up(node).values()) == {"1.0"}
    found = ledger(node.body())
    assert found[node.idle.uuid] == {"free": beats(4), "unhealthy": beats(4)}
    assert found[node.cut.uuid]["free"] == beats(7 * HALF)


async def test_a_release_waits_for_a_call_that_hangs(node: WholeNode) -> None:
    """The driver is still held by that call: whoever asks must know."""
    await node.beat()
    node.fake.force(COUNT, delay_ms=HANG_MS, times=1)
    with node.hurried():
        await node.beat()
    node.agent.release.order(20, by="test")
    assert "1 calls have not returned" in await node.agent.let_go()
    node.fake.relent()
    wait_for("the call has come back", lambda: node.fake.clients == 0)
    assert await node.agent.let_go() == ""
    await node.beat(2)
    assert node.fake.clients == 0
    await node.beat(2)
    assert node.success("gpus")
    booked(node, good=2, bad=3)


async def test_a_lost_card_is_unhealthy_alone(node: WholeNode) -> None:
    await node.beat(2)
    node.idle.lose()
    node.held.lose()
    await node.beat(3)
    assert node.success("gpus")
    node.idle.come_back()
    node.held.come_back()
    await node.beat(3)
    found = ledger(node.body())
    assert found[node.idle.uuid] == {"free": beats(4), "unhealthy": beats(3)}
    assert found[node.held.uuid] == {"train": beats(7)}
    assert found[node.cut.uuid] == {
        "tune": beats(7 * HALF), "free": beats(7 * HALF), "unpartitioned": beats(7 * Fraction(1, 7))
    }  # fmt: skip


@pytest.mark.parametrize("code", [driver.UNINITIALIZED, driver.DRIVER_NOT_LOADED, driver.UNKNOWN])
async def test_a_driver_that_dies_is_opened_anew_when_it_is_back(node: WholeNode, code: int) -> None:
    await node.beat(2)
    node.fake.force(COUNT, code)
    node.fake.set(init_code=code)
    await node.beat(3)
    assert not node.success("gpus")
    node.fake.relent()
    node.fake.set(init_code=driver.SUCCESS)
    await node.beat(3)
    assert node.success("gpus")
    booked(node, good=4, bad=3)


async def test_a_driver_upgraded_under_us_ends_the_process(node: WholeNode) -> None:
    await node.beat(2)
    node.fake.force(COUNT, driver.LIB_RM_VERSION_MISMATCH)
    with pytest.raises(DriverChanged):
        await node.beat()


async def test_instances_remade_in_mid_read_never_overlap(node: WholeNode) -> None:
    """For two beats they never stand still, then there are others: the new halves begin when they are seen."""
    await node.beat(2)
    attributes = "nvmlDeviceGetAttributes_v2"
    node.fake.force(attributes, gpu=node.cut.index, remake_mig=True)
    await node.beat(2)
    assert node.success("gpus")
    node.fake.relent()
    node.kubelet.take("team", "tune")
    node.cut.remake_mig(["2g.20gb", "1g.10gb"])
    for number, instance in enumerate(node.cut.instances):
        instance.set(uuid=f"MIG-of-the-second-layout-{number}".encode())
    node.kubelet.give("team", "again", "main", RESOURCE, ["MIG-of-the-second-layout-0"])
    await node.beat(3)
    found = ledger(node.body())[node.cut.uuid]
    assert found == {
        "tune": beats(4 * HALF),
        "again": beats(2 * Fraction(2, 7)),
        "free": beats(2 * HALF + 2 * Fraction(1, 7)),
        "unpartitioned": beats(2 * Fraction(1, 7) + 2 * Fraction(4, 7)),
        "unhealthy": beats(2 * Fraction(4, 7)),
    }


async def test_a_kubelet_that_restarts_is_a_gap_and_its_new_socket_is_found(node: WholeNode) -> None:
    await node.beat(2)
    node.kubelet.__exit__()
    node.kubelet.socket_path.unlink(missing_ok=True)
    await node.beat(2)
    assert not node.success("holdings")
    assert node.success("gpus")
    node.kubelet.__enter__()
    await node.beat(4)
    assert node.success("holdings")
    booked(node, good=5, bad=0, gap=2)


async def test_a_kubelet_that_hangs_is_a_gap(node: WholeNode) -> None:
    await node.beat(2)
    node.kubelet.slow_down(HANG_MS / 1000)
    node.kubelet_within_s = HURRIED_S
    await node.beat(2)
    assert not node.success("holdings")
    node.kubelet.heal()
    node.kubelet_within_s = PATIENT_S
    await node.beat(3)
    booked(node, good=4, bad=0, gap=2)


async def test_refusals_for_haste_cost_nothing_if_few_and_are_a_gap_if_not(node: WholeNode) -> None:
    await node.beat(2)
    node.kubelet.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, times=2)
    await node.beat()
    assert node.success("holdings")
    node.kubelet.fail(grpc.StatusCode.RESOURCE_EXHAUSTED)
    await node.beat()
    assert not node.success("holdings")
    node.kubelet.heal()
    await node.beat(2)
    booked(node, good=4, bad=0, gap=1)


async def test_an_answer_of_16_mib_is_an_answer(node: WholeNode) -> None:
    padding = "x" * 1024
    for number in range(16 * 1024):
        node.kubelet.give("other", f"{number}-{padding}", "main")
    await node.beat(3)
    assert node.success("holdings")
    booked(node, good=2, bad=0)


async def test_driver_and_kubelet_gone_together_book_nothing_idle(node: WholeNode) -> None:
    await node.beat(2)
    node.fake.force(COUNT, driver.UNKNOWN)
    node.kubelet.fail(grpc.StatusCode.UNAVAILABLE)
    await node.beat(3)
    node.fake.relent()
    node.kubelet.heal()
    await node.beat(2)
    booked(node, good=3, bad=0, gap=3)


async def test_a_node_that_sleeps_is_a_gap(node: WholeNode) -> None:
    """Nothing failed, but nobody looked: more than three beats passed."""
    await node.beat(3)
    await node.clock.sleep(60)
    await node.beat(2)
    booked(node, good=3, bad=0, gap=7)


def test_a_process_whose_driver_was_upgraded_ends_and_its_successor_goes_on(
    library_dir: Path, tmp_path: Path
) -> None:
    """Kubernetes starts it again; the new process has the new library, the old spool and the same instance."""
    library = driver.build(library_dir)
    with FakeNvml(tmp_path / "state") as fake, WholeNode(fake, tmp_path).kubelet as kubelet:
        arguments = (
            *("--cluster", "lab", "--node", "n1", "--beat", "1s", "--kubelet-socket", str(kubelet.socket_path)),
            *("--spool", str(tmp_path / "spool")),
        )
        environment = {"LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML_STATE": str(fake.path)}
        held = 'gpu_held_seconds_total{container="main",gpu="0"'
        log = tmp_path / "log"
        with running("exporter.cli", *arguments, log=log, env=environment) as agent:
            wait_for("the holder is metered", lambda: held in agent.get("/metrics").decode())
            fake.force(COUNT, driver.LIB_RM_VERSION_MISMATCH)
            wait_for("it has ended", lambda: agent.process.poll() is not None)
            assert agent.process.returncode == 1
        assert "the driver was upgraded under the agent" in log.read_text()
        fake.relent()
        with running("exporter.cli", *arguments, log=log, env=environment) as agent:
            wait_for("the holder is metered", lambda: held in agent.get("/metrics").decode())
        instances = {
            line.split('"instance": "')[1][:32] for line in log.read_text().splitlines() if '"instance"' in line
        }
        assert len(instances) == 1
