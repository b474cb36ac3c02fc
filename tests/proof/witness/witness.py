"""The witness: sees for itself who held which device and when, is told what the cards did, and works out the bill.

    witness = Witness(plane.url, ADMIN_TOKEN, node.kubelet_folder / "device-plugins/kubelet_internal_checkpoint")
    with witness:
        witness.told(Card(at_ms=now_ms(), gpu=gpu.uuid, model=H100))
        ...
        testimony = witness.testify(began_ms, ended_ms)

Pods, namespaces and their labels it watches itself at the API server, and what the device plugin gave away it reads
from the kubelet's own note. It is told (`testimony.Told`) what only the stage knows: cards, MIG, load, power, prices.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Self

from tests.proof.witness.lives import Life, Owners, clock
from tests.proof.witness.reckoning import accounts
from tests.proof.witness.sharing import divided, is_active
from tests.proof.witness.testimony import Card, Hold, Mig, Testimony, Told
from tests.proof.witness.watching import Note, Object, Watch

SHARE = "::"  # between a device and the number of its share


class Witness:
    """Watches from start() to stop(). told() may be called from any thread, also before start()."""

    def __init__(self, api_url: str, token: str, checkpoint: Path) -> None:
        """checkpoint: the kubelet's note of what it has given to whom (`kubelet_internal_checkpoint`)."""
        self._told: list[Told] = []
        self._lives: dict[str, Life] = {}
        self._owners = Owners()
        self._note = Note(checkpoint)
        self._watches = (
            Watch(api_url, token, "/api/v1/pods", self._see_pod),
            Watch(api_url, token, "/api/v1/namespaces", self._owners.see),
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Watching has begun on return."""
        self._note.start()
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        for watch in self._watches:
            watch.stop()
        self._note.stop()

    def told(self, what: Told) -> None:
        self._told.append(what)

    def testify(self, from_ms: int, until_ms: int) -> Testimony:
        """What was so between two instants, over all namespaces. Both are unix ms."""
        told = tuple(sorted(self._told, key=lambda each: each.at_ms))
        makes = _Makes(told)
        holds: list[Hold] = []
        for life in list(self._lives.values()):
            holds += self._holds_of(life, makes, from_ms, until_ms)
        if is_active(told):
            holds = divided(holds)
        ordered = tuple(sorted(holds, key=lambda hold: (hold.from_ms, hold.device, hold.share, hold.holder)))
        return Testimony(
            from_ms=from_ms,
            until_ms=until_ms,
            holds=ordered,
            told=told,
            accounts=accounts(ordered, told, self._owners.over, from_ms, until_ms),
        )

    def _see_pod(self, what: str, pod: Object, at_ms: int) -> None:
        meta = pod["metadata"]
        uid = str(meta["uid"])
        life = self._lives.setdefault(uid, Life(uid=uid, namespace=meta["namespace"], name=meta["name"]))
        life.see(what, pod, at_ms)

    def _holds_of(self, life: Life, makes: _Makes, from_ms: int, until_ms: int) -> Iterator[Hold]:
        """All that the pod held within a span, cut where its owner or its part of the card changes."""
        if life.bound_ms is None:
            return
        begin_ms, end_ms = max(life.bound_ms, from_ms), life.until_ms() or until_ms
        for container, device_id in self._given(life):
            device, _, share = device_id.partition(SHARE)
            make = makes.of(device, life.bound_ms)
            whole = Hold(
                account="",
                namespace=life.namespace,
                pod=life.name,
                container=container,
                resource=self._resource(life, device_id),
                gpu=make.gpu,
                model=make.model,
                profile=make.profile,
                device=device,
                share=int(share or 0),
                whole=make.part,
                from_ms=begin_ms,
                until_ms=end_ms,
                given_ms=self._given_ms(life, container, device_id),
                started_ms=self._started_ms(life, container, device_id),
                stamped=life.finished_ms is not None,
                uid=life.uid,
                evidence=(*life.evidence, self._word(life, container, device_id)),
            )
            for a, b, shares in self._shares(device, begin_ms, end_ms):
                for c, d, owner in self._owners.over(life.namespace, a, b):
                    yield replace(
                        whole,
                        account=owner.account,
                        tier=owner.tier,
                        team=owner.team,
                        part=make.part / shares,
                        from_ms=c,
                        until_ms=d,
                    )

    def _word(self, life: Life, container: str, device_id: str) -> str:
        given = device_id in self._note.given.get((life.uid, container), ())
        return f"the kubelet gave it {device_id}" if given else "the kubelet gave it nothing"

    def _given_ms(self, life: Life, container: str, device_id: str) -> int | None:
        key = (life.uid, container)
        return self._note.given_ms[key] if device_id in self._note.given.get(key, ()) else None

    def _started_ms(self, life: Life, container: str, device_id: str) -> int | None:
        """Of all that were given it: an init container had it before."""
        given = (each for each in life.started if device_id in self._note.given.get((life.uid, each), ()))
        return min((life.started[each] for each in given), default=life.started.get(container))

    def _given(self, life: Life) -> Iterator[tuple[str, str]]:
        """Containers and ids. What an init container had, others of the pod go on with.

        A pod that was bound and given nothing kept a device from everybody else until it was over: some device.
        """
        taken: set[str] = set()
        if not any((life.uid, container) in self._note.given for container in (*life.containers, *life.init)):
            for container, resource, count in life.asks:
                yield from ((container, device_id) for device_id in self._some(resource, count))
        for container in (*life.containers, *life.init):
            for device_id in sorted(self._note.given.get((life.uid, container), frozenset()) - taken):
                taken.add(device_id)
                yield container, device_id

    def _some(self, resource: str, count: int) -> list[str]:
        """So many of what was offered last under a name."""
        offered = (ids[resource] for _, ids in reversed(self._note.offered) if resource in ids)
        return sorted(next(offered, frozenset()))[:count]

    def _resource(self, life: Life, device_id: str) -> str:
        """Of the names under which it was offered the last that the pod asks for, or else the last."""
        names = [
            resource
            for _, offers in reversed(self._note.offered)
            for resource, ids in offers.items()
            if device_id in ids
        ]
        asked = {resource for _, resource, _ in life.asks}
        return next((each for each in names if each in asked), next(iter(names), ""))

    def _shares(self, device: str, from_ms: int, until_ms: int) -> Iterator[tuple[int, int, int]]:
        """In how many shares the device was offered, one after the other. A plugin that is away changes nothing."""
        counts: list[tuple[int, int]] = []
        for at_ms, offers in self._note.offered:
            ids = frozenset().union(*offers.values())
            if count := sum(each.partition(SHARE)[0] == device for each in ids):
                counts.append((at_ms, count))
        found = [counts[0][1]] if counts else [1]
        borders = [from_ms]
        for at_ms, count in counts[1:]:
            if at_ms <= from_ms:
                found[-1] = count
            elif at_ms < until_ms and count != found[-1]:
                found.append(count)
                borders.append(at_ms)
        for (a, b), count in zip(itertools.pairwise([*borders, until_ms]), found, strict=True):
            if a < b:
                yield a, b, count


@dataclass(frozen=True, slots=True, kw_only=True)
class _Make:
    """What a device is. part: of its card."""

    gpu: str
    model: str
    profile: str | None
    part: Fraction


class _Makes:
    """What devices are, as it was told: MIG instances come, go, and come again under the same UUID."""

    def __init__(self, told: Sequence[Told]) -> None:
        self._models = {each.gpu: each.model for each in told if isinstance(each, Card)}
        self._made: dict[str, list[tuple[int, _Make]]] = {}
        for each in told:
            if isinstance(each, Mig):
                for made in each.slices or ():
                    make = _Make(gpu=each.gpu, model=self._models[each.gpu], profile=made.profile, part=made.part)
                    self._made.setdefault(made.device, []).append((each.at_ms, make))

    def of(self, device: str, at_ms: int) -> _Make:
        """The last that was made by then; the first, where all were told later."""
        if device in self._models:
            return _Make(gpu=device, model=self._models[device], profile=None, part=Fraction(1))
        made = self._made.get(device)
        if made is None:
            raise LookupError(f"{device} was given away at {clock(at_ms)}, and nobody told of such a device")
        return [make for when, make in made if when <= at_ms or when == made[0][0]][-1]
