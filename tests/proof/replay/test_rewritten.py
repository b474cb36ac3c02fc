"""What is rewritten of a recording, and nothing else is."""

from __future__ import annotations

from exporter import podresources_pb2 as v1
from tests.proof.replay.recording import Beat, Recording, load
from tests.proof.replay.rewritten import LIST, OFFERED, forgetting, guaranteeing, in_shares, losing
from tests.proof.witness.testimony import Blind, Lost, Plan, Prices


def ids(beat: Beat, method: str) -> list[str]:
    message = beat.kubelet[method].message
    if method == OFFERED:
        devices = list(v1.AllocatableResourcesResponse.FromString(message).devices)
    else:
        pods = v1.ListPodResourcesResponse.FromString(message).pod_resources
        devices = [each for pod in pods for container in pod.containers for each in container.devices]
    return sorted(text for each in devices for text in each.device_ids)


def others(recording: Recording) -> list[object]:
    return [each for each in recording.heard if not isinstance(each, Beat)]


def test_every_device_is_offered_in_shares_and_held_in_one() -> None:
    recording = load("cards")
    shared = in_shares(recording, 4)
    for before, after in zip(recording.beats, shared.beats, strict=True):
        assert ids(after, LIST) == [f"{each}::0" for each in ids(before, LIST)]
        assert ids(after, OFFERED) == sorted(f"{each}::{n}" for each in ids(before, OFFERED) for n in range(4))
        assert (after.at_ms, after.cards, after.processes) == (before.at_ms, before.cards, before.processes)
    assert others(shared) == others(recording)


def test_the_kubelet_forgets_for_a_while_and_the_witness_is_told() -> None:
    recording = load("cards")
    from_ms, until_ms = recording.beats[50].at_ms, recording.beats[52].at_ms
    forgot = forgetting(recording, from_ms, until_ms)
    silent = [number for number, beat in enumerate(forgot.beats) if not ids(beat, LIST)]
    assert [number for number in silent if ids(recording.beats[number], LIST)] == [50, 51]
    assert ids(forgot.beats[50], OFFERED) == ids(recording.beats[50], OFFERED)
    (blind,) = (each for each in forgot.told if isinstance(each, Blind))
    assert (blind.at_ms, blind.until_ms) == (from_ms, until_ms)


def test_no_card_answers_for_a_while_and_the_witness_is_told() -> None:
    recording = load("mig")
    from_ms, until_ms = recording.beats[50].at_ms, recording.beats[52].at_ms
    bereft = losing(recording, from_ms, until_ms)
    silent = [number for number, beat in enumerate(bereft.beats) if beat.cards and not beat.cards.gpus]
    assert silent == [50, 51]
    uuids = [each.uuid for each in recording.beats[50].cards.gpus] if recording.beats[50].cards else []
    assert uuids
    assert [each.uuid for each in bereft.beats[50].cards.lost] == uuids  # type: ignore[union-attr]
    lost = {(each.gpu, each.at_ms, each.lost) for each in bereft.told if isinstance(each, Lost)}
    assert lost == {(uuid, *when) for uuid in uuids for when in ((from_ms, True), (until_ms, False))}


def test_a_guarantee_has_a_price_of_its_own() -> None:
    recording = load("cards")
    planned = guaranteeing(recording, "ml", 2, 5_000, 9_000)
    assert "term: reserved" in planned.head.prices
    (prices,) = (each for each in planned.told if isinstance(each, Prices))
    assert [each.micros for each in prices.prices if each.term == "reserved"] == [2_200_000]
    plans = [(each.at_ms, each.namespace, each.guaranteed) for each in planned.told if isinstance(each, Plan)]
    assert plans == [(5_000, "ml", 2), (9_000, "ml", 0)]
    assert planned.beats == recording.beats
