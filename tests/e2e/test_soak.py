"""Whatever befalls an agent, in whatever order: the account balances to the millisecond and invents nothing.

`make soak` does 200 rounds; a seed that failed is tried again by SOAK_SEED. The seed fixes what happens, not when.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import EXCESS
from chargeback.core.spans import Spans, intersect, subtract, union
from tests.body_receiver import BodyReceiver
from tests.e2e.soak_node import SoakNode
from tests.exporter.whole_node import ledger
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml, build
from tests.programs import fetch, wait_for

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "20"))
SEED = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(10**9))))
BEAT_MS = 1_000
HOLDS_MS = 3 * BEAT_MS  # what a beat saw may count for so long
LATE_MS = 3_000  # a beat counts from its beginning, and may have asked so much later

CALLS = (
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTotalEnergyConsumption",
)

Event = Callable[[SoakNode, random.Random], None]


def kill(node: SoakNode, rng: random.Random) -> None:
    node.die(signal.SIGKILL, rng.choice((0, 0, 1, 5)))


def restart(node: SoakNode, rng: random.Random) -> None:
    node.die(signal.SIGTERM, rng.choice((0, 0, 4)))


def stand_still(node: SoakNode, rng: random.Random) -> None:
    node.stop(rng.choice((0.5, 2, 5)))


def wedge(node: SoakNode, rng: random.Random) -> None:
    node.fake.force(rng.choice(CALLS), delay_ms=rng.choice((300, 3_000, 5_000)), times=rng.choice((1, 3)))
    time.sleep(rng.uniform(0, 4))


def break_driver(node: SoakNode, rng: random.Random) -> None:
    code = rng.choice((driver.UNINITIALIZED, driver.DRIVER_NOT_LOADED, driver.UNKNOWN))
    node.fake.force(CALLS[0], code)
    node.fake.set(init_code=code)
    with node.illness(None):
        time.sleep(rng.choice((0.5, 2, 8)))
    node.fake.set(init_code=driver.SUCCESS)


def upgrade_driver(node: SoakNode, rng: random.Random) -> None:
    node.fake.force(CALLS[0], driver.LIB_RM_VERSION_MISMATCH)
    wait_for("the agent has ended", lambda: node.agent.process.poll() is not None)
    assert node.agent.process.returncode == 1
    node.fake.relent()
    node.come_again(rng.choice((0, 2)))


def lose_card(node: SoakNode, rng: random.Random) -> None:
    card = rng.choice((*node.cards, node.idle))
    card.lose()
    with node.illness(card.uuid):
        time.sleep(rng.choice((0.5, 2, 8)))
    card.come_back()


def remake_mig(node: SoakNode, rng: random.Random) -> None:
    node.fake.force("nvmlDeviceGetAttributes_v2", gpu=node.cut.index, remake_mig=True, times=rng.choice((1, 4)))
    for instance in node.cut.instances:
        if instance.uuid in node.held:
            node.take(instance.uuid)
    node.cut.remake_mig(rng.choice((["3g.40gb", "3g.40gb"], ["1g.10gb"] * 7, ["2g.20gb", "1g.10gb"], [])))


def hang_up(node: SoakNode, rng: random.Random) -> None:
    node.hang_up(rng.choice((0.2, 2, 8)))


def refuse(node: SoakNode, rng: random.Random) -> None:
    node.kubelet.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, times=rng.choice((1, 2, 6, 12)))


def slow_down(node: SoakNode, rng: random.Random) -> None:
    node.kubelet.slow_down(rng.choice((0.3, 3)))
    time.sleep(rng.uniform(0, 4))


def release(node: SoakNode, rng: random.Random) -> None:
    node.agent.process.send_signal(signal.SIGUSR1)
    wait_for("NVML is let go", lambda: b"\ngpu_exporter_released 1.0\n" in fetch(node.agent.url + "/metrics")[1])
    assert node.fake.clients == 0
    with node.illness(None):
        time.sleep(rng.choice((0.5, 5)))
        if rng.random() < 0.3:
            node.die(signal.SIGKILL, 0)
            return
    node.delete("/v1/release")


def nothing(node: SoakNode, rng: random.Random) -> None:
    time.sleep(rng.uniform(0.5, 2))


EVENTS: tuple[Event, ...] = (
    kill, restart, stand_still, wedge, break_driver, upgrade_driver, lose_card, remake_mig, hang_up, refuse,
    slow_down, release, nothing,
)  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[BodyReceiver]:
    """It takes every body; a third of its answers are lost, or say that it did not."""
    rng = random.Random(SEED)
    with BodyReceiver(answer=lambda: (rng.choice((200, 200, 503)), {})) as receiver:
        yield receiver


@pytest.fixture
def node(tmp_path: Path, receiver: BodyReceiver) -> Iterator[SoakNode]:
    with FakeNvml(tmp_path / "state") as fake, SoakNode(tmp_path, build(tmp_path), fake, receiver) as node:
        yield node


def test_the_account_balances_whatever_happens(node: SoakNode, receiver: BodyReceiver) -> None:
    print(f"SOAK_SEED={SEED} SOAK_ROUNDS={ROUNDS}")
    rng = random.Random(SEED)
    # Each kind once before any comes again, so that few rounds have them all.
    events = [event for _ in range(-(-ROUNDS // len(EVENTS))) for event in rng.sample(EVENTS, len(EVENTS))]
    for number, event in enumerate(events[:ROUNDS]):
        print(number, event.__name__, flush=True)
        change_holders(node, rng)
        event(node, rng)
        node.fake.relent()
        node.kubelet.heal()
        node.recover()
    node.finish()
    assert receiver.broken == []
    assert len({instance for _, instance in receiver.newest}) == 1
    booked = [ledger(body) for body in receiver.newest.values()]  # raises where a card's time does not add up
    assert sum(of_card.get("free", 0) for cards in booked for of_card in cards.values()) > 0
    assert not any(EXCESS in of_card for cards in booked for of_card in cards.values())
    assert_nothing_is_invented(node, receiver)


def change_holders(node: SoakNode, rng: random.Random) -> None:
    """Sometimes: one who holds ends, or a device that nobody holds is given to a new pod."""
    device = rng.choice([card.uuid for card in node.cards] + [each.uuid for each in node.cut.instances])
    if rng.random() < 0.6:
        (node.take if device in node.held else node.give)(device)


def assert_nothing_is_invented(node: SoakNode, receiver: BodyReceiver) -> None:
    """What is written is inside what was: observed where somebody looked, held by who held, idle while nobody did."""
    found = Written(receiver)
    dark = [span for span in node.unseen if span[1] - span[0] > HOLDS_MS]
    dark += [(start + HOLDS_MS, end - LATE_MS) for start, end in node.deaf]
    for uuid in [card.uuid for card in (*node.cards, node.cut, node.idle)]:
        assert intersect(found.observed(uuid), union(dark)) == (), uuid
    for card in (*node.cards, node.idle):
        ill = [(start + HOLDS_MS, end - LATE_MS) for whose, start, end in node.ill if whose in (None, card.uuid)]
        held = [(start + HOLDS_MS, end - LATE_MS) for device, _, start, end in node.holdings if device == card.uuid]
        assert intersect(found.idle(card.uuid), union(ill)) == (), card.uuid
        assert intersect(found.idle(card.uuid), union(held)) == (), card.uuid
    for device, pod, start, end in node.holdings:
        assert subtract(found.held(device, pod), ((start - LATE_MS, end + HOLDS_MS),)) == (), (device, pod)
    known = {(device, pod) for device, pod, _, _ in node.holdings}
    assert found.holders() <= known


class Written:
    """What all bodies together say, in unix ms."""

    def __init__(self, receiver: BodyReceiver) -> None:
        self._bodies = list(receiver.newest.values())

    def _spans(self, of: Callable[[Any], Spans]) -> Spans:
        return union(
            (body.hour * HOUR_MS + start, body.hour * HOUR_MS + end)
            for body in self._bodies
            for start, end in of(body)
        )

    def observed(self, uuid: str) -> Spans:
        return self._spans(lambda body: tuple(s for gpu in body.gpus if gpu.uuid == uuid for s in gpu.observed))

    def held(self, device: str, pod: str | None = None) -> Spans:
        return self._spans(
            lambda body: tuple(
                (each.start, each.end)
                for each in body.holdings
                if each.device == device and (pod is None or each.pod == pod)
            )
        )

    def idle(self, uuid: str) -> Spans:
        unhealthy = self._spans(lambda body: tuple(s for gpu in body.gpus if gpu.uuid == uuid for s in gpu.unhealthy))
        return subtract(subtract(self.observed(uuid), unhealthy), self.held(uuid))

    def holders(self) -> set[tuple[str, str]]:
        return {(each.device, each.pod) for body in self._bodies for each in body.holdings}
