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

from pathlib import Path
from types import TracebackType
from typing import Self

from tests.proof.testimony import Testimony, Told


class Witness:
    """Watches from start() to stop(). told() may be called from any thread, also before start()."""

    def __init__(self, api_url: str, token: str, checkpoint: Path) -> None:
        """checkpoint: the kubelet's note of what it has given to whom (`kubelet_internal_checkpoint`)."""
        self._told: list[Told] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Watching has begun on return."""
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def told(self, what: Told) -> None:
        self._told.append(what)

    def testify(self, from_ms: int, until_ms: int) -> Testimony:
        """What was so between two instants, over all namespaces. Both are unix ms."""
        raise NotImplementedError
