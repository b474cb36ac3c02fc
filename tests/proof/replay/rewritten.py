"""A recording in which something else was so as well: nodes that nobody has recorded, made of those that were.

Only what doors said is rewritten, and what the witness is told of it; both programs run on it as on any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

import msgspec
import yaml

from exporter import podresources_pb2 as v1
from exporter.reading import LostGpu
from tests.proof.replay.recorded_scenes import H100
from tests.proof.replay.recording import Answer, Beat, Heard, Recording, Word
from tests.proof.witness.testimony import Blind, Card, Lost, Plan, Price, Prices, Told

LIST, OFFERED = "/v1.PodResourcesLister/List", "/v1.PodResourcesLister/GetAllocatableResources"
GONE = "nvmlDeviceGetHandleByIndex: GPU is lost (15)"
RESERVED_PRICE = "2.20"
Message = TypeVar("Message", v1.ListPodResourcesResponse, v1.AllocatableResourcesResponse)


def in_shares(recording: Recording, count: int) -> Recording:
    """Every device is offered in so many shares under its own name, and who had a device has a share of it."""

    def listed(found: v1.ListPodResourcesResponse) -> None:
        for pod in found.pod_resources:
            for container in pod.containers:
                _share(container.devices, range(1))

    def offered(found: v1.AllocatableResourcesResponse) -> None:
        _share(found.devices, range(count))

    def rewrite(beat: Beat) -> Beat:
        beat = _answering(beat, LIST, v1.ListPodResourcesResponse, listed)
        return _answering(beat, OFFERED, v1.AllocatableResourcesResponse, offered)

    return _beats(recording, rewrite)


def forgetting(recording: Recording, from_ms: int, until_ms: int) -> Recording:
    """At the beats of a while the kubelet lists nobody, as one that has just begun."""

    def listed(found: v1.ListPodResourcesResponse) -> None:
        del found.pod_resources[:]

    def rewrite(beat: Beat) -> Beat:
        is_then = from_ms <= beat.at_ms < until_ms
        return _answering(beat, LIST, v1.ListPodResourcesResponse, listed) if is_then else beat

    return _telling(_beats(recording, rewrite), [Blind(at_ms=from_ms, until_ms=until_ms, why="the kubelet forgot")])


def losing(recording: Recording, from_ms: int, until_ms: int) -> Recording:
    """At the beats of a while no card of the node answers: they have fallen off the bus, and come back."""

    def rewrite(beat: Beat) -> Beat:
        if beat.cards is None or not from_ms <= beat.at_ms < until_ms:
            return beat
        gone = [LostGpu(index=each.index, uuid=each.uuid, error=GONE) for each in beat.cards.gpus]
        lost = tuple(sorted((*beat.cards.lost, *gone), key=lambda each: each.index))
        return msgspec.structs.replace(beat, cards=replace(beat.cards, gpus=(), lost=lost))

    cards = [each.gpu for each in recording.told if isinstance(each, Card)]
    told = [
        Lost(at_ms=at_ms, gpu=gpu, lost=lost) for gpu in cards for at_ms, lost in ((from_ms, True), (until_ms, False))
    ]
    return _telling(_beats(recording, rewrite), told)


def guaranteeing(recording: Recording, namespace: str, count: int, from_ms: int, until_ms: int) -> Recording:
    """A namespace is guaranteed so many cards for a while (whole seconds), and they cost less than others."""
    book = yaml.safe_load(recording.head.prices)
    book["prices"].append({"model": H100, "term": "reserved", "price": RESERVED_PRICE, "unit": "gpu-hour"})
    head = msgspec.structs.replace(recording.head, prices=yaml.safe_dump(book))
    reserved = Price(model=H100, micros=int(Fraction(RESERVED_PRICE) * 1_000_000), term="reserved")
    (told,) = (each for each in recording.told if isinstance(each, Prices))
    prices = replace(told, prices=(*told.prices, reserved))
    heard = tuple(each for each in recording.heard if not (isinstance(each, Word) and each.of == "Prices"))
    plans = [
        Plan(at_ms=from_ms, namespace=namespace, guaranteed=count),
        Plan(at_ms=until_ms, namespace=namespace, guaranteed=0),
    ]
    return _telling(replace(recording, head=head, heard=heard), [prices, *plans])


def _telling(recording: Recording, told: Iterable[Told]) -> Recording:
    return replace(recording, heard=(*map(Word.of_told, told), *recording.heard))


def _beats(recording: Recording, rewrite: Callable[[Beat], Beat]) -> Recording:
    heard: Iterator[Heard] = (rewrite(each) if isinstance(each, Beat) else each for each in recording.heard)
    return replace(recording, heard=tuple(heard))


def _answering(beat: Beat, method: str, of: type[Message], change: Callable[[Message], None]) -> Beat:
    """With another answer of the kubelet, if it gave one."""
    answer = beat.kubelet.get(method)
    if answer is None or answer.code:
        return beat
    found = of.FromString(answer.message)
    change(found)
    return msgspec.structs.replace(beat, kubelet={**beat.kubelet, method: Answer(message=found.SerializeToString())})


def _share(devices: Iterable[v1.ContainerDevices], numbers: range) -> None:
    for each in devices:
        ids = [f"{device}::{number}" for device in each.device_ids for number in numbers]
        del each.device_ids[:]
        each.device_ids.extend(ids)
