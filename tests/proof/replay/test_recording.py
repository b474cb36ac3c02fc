"""Recordings as values: what is written is read, what is shifted moves whole, and nothing of a machine is in them."""

from __future__ import annotations

import re

import pytest

from tests.proof.replay.recording import FOLDER, NAMES, Beat, News, Recording, load, object_of, read, write

DAY_MS = 86_400_000


@pytest.fixture(params=NAMES)
def recording(request: pytest.FixtureRequest) -> Recording:
    return load(request.param)


def test_what_is_written_is_read(recording: Recording) -> None:
    """And a recording has the same bytes whenever it is written."""
    data = write(recording)
    assert read(data) == recording
    assert data == (FOLDER / f"{recording.head.name}.jsonl.gz").read_bytes()


def test_it_is_short_and_small(recording: Recording) -> None:
    """A minute or two and a half, and no burden to who clones the repository."""
    assert 60_000 < recording.ended_ms - recording.began_ms < 160_000
    assert len(write(recording)) < 100_000


def test_a_shift_moves_every_time_in_it(recording: Recording) -> None:
    """Of beats, news, and within the API's objects: none is left behind."""
    moved = recording.shifted(400 * DAY_MS)
    assert [each.at_ms - 400 * DAY_MS for each in moved.heard] == [each.at_ms for each in recording.heard]
    stamps = [
        time for each in moved.heard if isinstance(each, News) for found in each.objects for time in _times(found)
    ]
    assert len(stamps) > 1000
    assert not [time for time in stamps if time < "2027"]
    assert moved.shifted(-400 * DAY_MS).heard == recording.heard


def test_only_whole_seconds_can_be_shifted(recording: Recording) -> None:
    """The API's times have no others."""
    with pytest.raises(ValueError, match=r"1500 ms: want whole seconds"):
        recording.shifted(1500)


def test_an_instant_falls_where_it_shall(recording: Recording) -> None:
    """To the second, and never later."""
    moved = recording.so_that(recording.began_ms + 777, 0)
    assert -1000 < moved.began_ms + 777 <= 0


def test_all_doors_were_recorded(recording: Recording) -> None:
    """Bytes of the kubelet, texts of /proc, what cards said, what was done to them, and objects of the API."""
    first = recording.beats[0]
    assert set(first.kubelet) == {"/v1.PodResourcesLister/List", "/v1.PodResourcesLister/GetAllocatableResources"}
    assert first.cards is not None
    assert first.cards.gpus
    assert any(facts.cgroup and "kubepods" in facts.cgroup for beat in recording.beats for facts in beat.processes)
    assert {type(told).__name__ for told in recording.told} >= {"Card", "Load", "Power", "Prices"}
    kinds = {
        object_of(found)["metadata"]["name"] for each in _news(recording, "namespaces") for found in each.objects
    }
    assert {"ml", "web", "nobody"} <= kinds


def test_nothing_of_the_machine_is_in_it(recording: Recording) -> None:
    """No folder of whoever recorded it, and no pod but those of the script."""
    text = b"".join(
        bytes(found) for each in recording.heard if isinstance(each, News) for found in each.objects
    ).decode()
    assert not re.findall(r"/(?:root|home|work|tmp)/\S*", text)
    namespaces = {
        object_of(found)["metadata"]["namespace"] for each in _news(recording, "pods") for found in each.objects
    }
    assert namespaces == {"ml", "web", "nobody"}


def test_beats_and_news_are_in_order(recording: Recording) -> None:
    heard = [each.at_ms for each in recording.heard if isinstance(each, Beat | News)]
    assert heard == sorted(heard)


def _news(recording: Recording, kind: str) -> list[News]:
    return [each for each in recording.heard if isinstance(each, News) and each.kind == kind]


def _times(found: bytes) -> list[str]:
    return re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', bytes(found).decode())
