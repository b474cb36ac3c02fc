"""NVIDIA's device plugin on the stage: it is killed, and started anew whenever it has to offer something else."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.control_plane import Refused
from tests.cluster.daemon import Daemon
from tests.cluster.device_plugin import offered, plugin_daemon, write_settings
from tests.cluster.node import Node
from tests.programs import wait_for
from tests.proof.stage.driver import Driver
from tests.proof.stage.scenario import GPU, Sharing

SHARED = f"{GPU}.shared"
OFFERED_WITHIN_S = 90.0


class Plugin:
    """sharing: how whole cards are offered."""

    def __init__(self, node: Node, driver: Driver, daemon: Daemon) -> None:
        self._node, self._driver, self._daemon = node, driver, daemon
        self._lock = threading.Lock()
        self.sharing = Sharing()

    def offers(self) -> dict[str, int]:
        """Devices by resource, as the cards are cut and shared now."""
        found: Counter[str] = Counter()
        for card in range(len(self._driver.cards)):
            profiles = self._driver.profiles(card)
            found.update(f"nvidia.com/mig-{profile}" for profile in profiles)
            if not profiles:
                found[SHARED if self.sharing.renamed else GPU] += self.sharing.replicas
        return dict(found)

    def offer(self, sharing: Sharing) -> None:
        """Have the plugin begin anew; returns once the node offers exactly what the cards say."""
        with self._lock:
            self._daemon.stop()
            self.sharing = sharing
            self._write()
            self._daemon.start()
            self.wait_offered()

    def kill(self) -> None:
        with self._lock:
            self._daemon.stop(kill=True)

    def start(self) -> None:
        with self._lock:
            if not self._daemon.alive():
                self._daemon.start()

    def wait_offered(self) -> None:
        """Until the node offers exactly what the cards say. The API server may be away meanwhile."""
        try:
            wait_for("what the plugin offers", lambda: self._offered() == self.offers(), OFFERED_WITHIN_S)
        except AssertionError as error:
            said = f"{self._offered()}, want {self.offers()}\n{self._daemon.said()}"
            raise AssertionError(f"{error}: {said}") from None

    def _offered(self) -> dict[str, int] | None:
        try:
            return {resource: int(count) for resource, count in offered(self._node).items()}
        except (Refused, OSError):
            return None

    def _write(self) -> None:
        replicas = {GPU: self.sharing.replicas} if self.sharing.replicas > 1 else {}
        by = self.sharing.by
        write_settings(self._node, self._driver.nvml, replicas, renamed=self.sharing.renamed, mps=by == "mps")


@contextmanager
def plugin(node: Node, driver: Driver, library: Path) -> Iterator[Plugin]:
    """Run it until the block ends; the node offers everything on entry."""
    daemon = plugin_daemon(node, driver.nvml, library)
    made = Plugin(node, driver, daemon)
    try:
        made.offer(Sharing())
        yield made
    finally:
        daemon.stop()
