"""The witness of a recording: it has not watched, but reads what was heard, and reckons as ever.

It takes only what no program made: objects of the API, the kubelet's answers, and what was told of the cards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from exporter import podresources_pb2 as v1
from tests.proof.replay.recording import Beat, News, Recording, object_of
from tests.proof.witness.testimony import Testimony
from tests.proof.witness.watching import ADDED, Object
from tests.proof.witness.witness import Witness

LISTED = "LISTED"


class HeardWitness(Witness):
    """Of one recording, shifted as it may be."""

    def __init__(self, recording: Recording) -> None:
        super().__init__("https://127.0.0.1", "", Path("nowhere"))
        self._uids: dict[tuple[str, str], str] = {}
        for told in recording.told:
            self.told(told)
        for entry in recording.heard:
            if isinstance(entry, News):
                self._hear(entry)
            elif isinstance(entry, Beat):
                self._see_given(entry)

    def _hear(self, news: News) -> None:
        for found in map(object_of, news.objects):
            event = ADDED if news.event == LISTED else news.event
            if news.kind == "namespaces":
                self._owners.see(event, found, news.at_ms)
            elif news.kind == "pods":
                self._see_pod(event, found, news.at_ms)
                meta: Object = found["metadata"]
                self._uids[meta["namespace"], meta["name"]] = meta["uid"]

    def _see_given(self, beat: Beat) -> None:
        """What the kubelet says it gave, and what it offers, at a beat."""
        answers = {method.rpartition("/")[2]: answer.message for method, answer in beat.kubelet.items()}
        for pod in v1.ListPodResourcesResponse.FromString(answers.get("List", b"")).pod_resources:
            for container in pod.containers:
                if ids := frozenset(_ids(container.devices)):
                    self._note.note(self._uids[pod.namespace, pod.name], container.name, ids, beat.at_ms)
        if (message := answers.get("GetAllocatableResources")) is not None:
            offers: dict[str, frozenset[str]] = {}
            for each in v1.AllocatableResourcesResponse.FromString(message).devices:
                offers[each.resource_name] = offers.get(each.resource_name, frozenset()) | set(each.device_ids)
            if not self._note.offered or self._note.offered[-1][1] != offers:
                self._note.offered.append((beat.at_ms, offers))


def testify(recording: Recording) -> Testimony:
    """Of the time that the agent has seen."""
    return HeardWitness(recording).testify(recording.began_ms, recording.ended_ms)


def _ids(devices: Iterator[v1.ContainerDevices]) -> Iterator[str]:
    for entry in devices:
        yield from entry.device_ids
