"""What users of other exporters complain about and no other test here holds: the whole agent over real parts."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.exporter.whole_node import RESOURCE, WholeNode
from tests.kubelet_server import PodResourcesServer
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml
from tests.programs import running, wait_for


@pytest.fixture(scope="module")
def library_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("driver")


def samples(page: str, name: str) -> dict[str, float]:
    """By UUID of the device, and by pod where there is one."""
    found = {}
    for line in page.splitlines():
        if line.startswith(f"{name}{{"):
            labels = dict(pair.split("=", 1) for pair in line[len(name) + 1 : line.rindex("}")].split(","))
            key = "/".join(labels[each].strip('"') for each in ("uuid", "pod") if each in labels)
            assert key not in found
            found[key] = float(line.split()[-1])
    return found


async def test_a_device_that_nobody_holds_is_on_the_page_like_any_other(fake: FakeNvml, tmp_path: Path) -> None:
    """Of eleven cards one is held, and then none: each is shown at every beat."""
    with WholeNode(fake, tmp_path) as node:
        cards = [node.held, node.idle, node.cut, *(fake.add_gpu() for _ in range(8))]
        devices = {card.uuid for card in cards if card is not node.cut} | {each.uuid for each in node.cut.instances}
        for pods in ("train", "tune"):
            await node.beat(2)
            page = node.agent.page.decode()
            assert samples(page, "gpu_up") == {card.uuid: 1 for card in cards}
            for name in ("gpu_observed_seconds_total", "gpu_idle_seconds_total"):
                assert samples(page, name).keys() == devices
            node.kubelet.take("team", pods)


async def test_a_shared_card_has_a_row_for_each_pod_and_their_seconds_are_the_cards(
    fake: FakeNvml, tmp_path: Path
) -> None:
    """Four of six shares are sold to three pods, two containers of one among them."""
    with WholeNode(fake, tmp_path) as node:
        card = fake.add_gpu()
        node.kubelet.offer(RESOURCE, [f"{card.uuid}::{n}" for n in range(6)])
        for number, (pod, container) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("c", "x")]):
            node.kubelet.give("team", pod, container, RESOURCE, [f"{card.uuid}::{number}"])
        await node.beat(4)
        lines = [
            line
            for line in node.agent.page.decode().splitlines()
            if line.startswith("gpu_held_seconds_total{") and card.uuid in line
        ]
        assert [float(line.split()[-1]) for line in lines] == [5.0] * 4
        page = node.agent.page.decode()
        assert samples(page, "gpu_idle_seconds_total")[card.uuid] == 10
        assert samples(page, "gpu_observed_seconds_total")[card.uuid] == 30


async def test_busy_time_of_who_does_not_show_himself_is_absent_and_marked(fake: FakeNvml, tmp_path: Path) -> None:
    """Without the host's pids the driver lists nobody, and the card's memory is in use all the same."""
    with WholeNode(fake, tmp_path) as node:
        node.held.set(used_bytes=8 << 30)
        await node.beat(3)
        page = node.agent.page.decode()
        key = f"{node.held.uuid}/train"
        assert samples(page, "gpu_held_seconds_total")[key] == 20
        assert samples(page, "gpu_busy_known")[key] == 0
        assert key not in samples(page, "gpu_busy_seconds_total")
        node.held.set(used_bytes=0)
        await node.beat(2)
        page = node.agent.page.decode()
        assert samples(page, "gpu_busy_known")[key] == 1
        assert samples(page, "gpu_busy_seconds_total")[key] == 0


@pytest.mark.parametrize("hangs", [False, True])
def test_it_ends_soon_and_lets_go_of_the_driver(library_dir: Path, tmp_path: Path, hangs: bool) -> None:
    """A driver that hangs cannot be let go of, and holds nobody up."""
    library = driver.build(library_dir)
    with FakeNvml(tmp_path / "state") as fake, PodResourcesServer(tmp_path / "kubelet.sock") as kubelet:
        fake.add_gpu()
        arguments = (
            *("--cluster", "lab", "--node", "n1", "--beat", "1s", "--kubelet-socket", str(kubelet.socket_path)),
            *("--spool", str(tmp_path / "spool")),
        )
        environment = {"LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML_STATE": str(fake.path)}
        with running("exporter.cli", *arguments, log=tmp_path / "log", env=environment) as agent:
            wait_for("a card", lambda: "gpu_up{" in agent.get("/metrics").decode())
            assert fake.clients == 1
            if hangs:
                calls = fake.calls
                fake.set(delay_us=60_000_000)
                wait_for("a call hangs", lambda: fake.calls > calls)
            started = time.monotonic()
            agent.process.send_signal(signal.SIGTERM)
            assert agent.process.wait(10) == 0
            assert time.monotonic() - started < 5
        assert fake.clients == (1 if hangs else 0)
