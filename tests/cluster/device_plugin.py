"""NVIDIA's own device plugin over the fake driver: it offers the kubelet cards and MIG slices, and hands them out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import binaries, mps_control
from tests.cluster.daemon import Daemon
from tests.cluster.node import Node
from tests.nvml.fake import FakeNvml
from tests.programs import wait_for

READY_WITHIN_S = 30.0
MPS_ROOT = "/run/nvidia/mps"  # on the node


@contextmanager
def device_plugin(
    node: Node, nvml: FakeNvml, library: Path, offers: Mapping[str, int], *, replicas: Mapping[str, int] | None = None
) -> Iterator[Daemon]:
    """Run it on a node until the API server shows what it offers. Skips where the program is not here.

    library   the fake libnvidia-ml.so.1
    offers    what the node shall offer then, as resource: count
    replicas  shares a device is offered in, by resource: time-slicing
    """
    write_settings(node, nvml, replicas or {})
    with plugin_daemon(node, nvml, library) as daemon:
        wait_offered(node, daemon, offers)
        yield daemon


def plugin_daemon(node: Node, nvml: FakeNvml, library: Path) -> Daemon:
    """The program, not started: it reads what `write_settings` wrote. Skips where it is not here."""
    program = binaries.find("nvidia-device-plugin")
    if program is None:
        pytest.skip(f"no nvidia-device-plugin here: {binaries.HOW}")
    folder = node.plane.folder
    return node.sandbox.daemon(
        [str(program), "--config-file", str(folder / "device-plugin.json")],
        folder / "device-plugin.log",
        env={
            "LD_LIBRARY_PATH": str(library.parent),
            "FAKE_NVML_STATE": str(nvml.path),
            "DP_DISABLE_HEALTHCHECKS": "all",  # else a card that a test has lost would be off the offer
            "PATH": f"{mps_control.write_program(folder, MPS_ROOT).parent}:{os.environ['PATH']}",
        },
    )


def wait_offered(node: Node, daemon: Daemon, offers: Mapping[str, int]) -> None:
    """Until the API server shows exactly this."""
    wanted = {resource: str(count) for resource, count in offers.items()}
    try:
        wait_for("what the plugin offers", lambda: offered(node) == wanted, READY_WITHIN_S)
    except AssertionError as error:
        raise AssertionError(f"{error}: {offered(node)}\n{daemon.said()}") from None


def offered(node: Node) -> dict[str, str]:
    """A resource of an earlier plugin stays, at 0."""
    return {resource: count for resource, count in node.allocatable().items() if count != "0"}


def write_settings(
    node: Node, nvml: FakeNvml, replicas: Mapping[str, int], *, renamed: bool = False, mps: bool = False
) -> None:
    """What the plugin reads when it starts.

    renamed  what is shared has a name of its own, NAME.shared
    mps      by MPS, not by time-slicing: then no card may be cut, and no container gets more than one share
    """
    _write_mig_minors(node, nvml)
    if mps:
        for name in replicas:
            resource = f"{name}.shared" if renamed else name
            mps_control.begin(Path(f"{node.sandbox.root}{MPS_ROOT}"), resource)
    (node.plane.folder / "device-plugin.json").write_text(json.dumps(settings(replicas, renamed=renamed, mps=mps)))


def settings(
    replicas: Mapping[str, int], *, renamed: bool = False, mps: bool = False, device_files: bool = False
) -> dict[str, Any]:
    """As the plugin's file has them. device_files: a container gets those of its devices from the kubelet."""
    made: dict[str, Any] = {
        "version": "v1",
        "flags": {
            "migStrategy": "none" if mps else "mixed",
            "mpsRoot": MPS_ROOT,
            "failOnInitError": True,
            "plugin": {"passDeviceSpecs": device_files, "deviceListStrategy": ["envvar"], "deviceIDStrategy": "uuid"},
        },
    }
    if replicas:
        resources = [{"name": name, "replicas": count} for name, count in replicas.items()]
        shared = {"renameByDefault": renamed, "resources": resources}
        made["sharing"] = {"mps" if mps else "timeSlicing": shared}
    return made


def _write_mig_minors(node: Node, nvml: FakeNvml) -> None:
    """The driver's list of the device files of MIG instances, which the plugin wants before it offers any."""
    lines = []
    for gpu in nvml.gpus:
        for instance in gpu.instances:
            path = f"gpu{gpu.index}/gi{instance.gi}"
            lines += [f"{path}/access", f"{path}/ci{instance.ci}/access"]
    numbered = "".join(f"{line} {minor}\n" for minor, line in enumerate(lines, 30))
    (node.sandbox.root / "proc/driver/nvidia-caps/mig-minors").write_text(numbered)
