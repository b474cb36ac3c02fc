"""kwok plays the nodes of a big cluster: heartbeats, leases, and pods that run as soon as they are bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import binaries
from tests.cluster.control_plane import ControlPlane
from tests.cluster.daemon import Daemon

# Annotations of the nodes that kwok plays; others it leaves alone.
MANAGED = {"kwok.x-k8s.io/node": "fake"}
STAGES = Path(__file__).parent / "kwok_module" / "stages.yaml"
LEASE_S = 40  # as a kubelet has it, which renews it every quarter of that


@contextmanager
def kwok(plane: ControlPlane) -> Iterator[Daemon]:
    """Play the nodes annotated with MANAGED, and the pods bound to them. Skips where kwok is not here."""
    program = binaries.find("kwok")
    if program is None:
        pytest.skip(f"no kwok here: {binaries.HOW}")
    command = [
        str(program),
        f"--config={STAGES}",
        f"--kubeconfig={plane.kubeconfig()}",
        *(f"--manage-nodes-with-annotation-selector={key}={value}" for key, value in MANAGED.items()),
        "--node-ip=127.0.0.1",
        f"--node-lease-duration-seconds={LEASE_S}",
    ]
    with Daemon(command, plane.folder / "kwok.log") as daemon:
        yield daemon
