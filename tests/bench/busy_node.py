"""The node of the footprint's promise: 8 cards, each cut in 7, every slice held by a pod that runs 4 processes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kubelet_server import PodResourcesServer
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml

GPUS, SLICES, PROCESSES = 8, 7, 4
PROFILE = "1g.10gb"
RESOURCE = "nvidia.com/mig-1g.10gb"
FIRST_PID = 10_000


class BusyNode:
    """Where its parts are. library: the folder of the driver."""

    def __init__(self, scratch: Path) -> None:
        self.library = driver.build(scratch).parent
        self.state, self.socket, self.proc = scratch / "state", scratch / "kubelet.sock", scratch / "proc"
        self.spool = scratch / "spool"

    @contextmanager
    def running(self) -> Iterator[FakeNvml]:
        """The driver's state and the kubelet, while the context lasts."""
        pids = iter(range(FIRST_PID, FIRST_PID + GPUS * SLICES * PROCESSES))
        with FakeNvml(self.state) as fake, PodResourcesServer(self.socket) as kubelet:
            for number in range(GPUS):
                gpu = fake.add_gpu(mig=[PROFILE] * SLICES)
                gpu.draw(300.0, energy_mj=1_000_000)
                for position, instance in enumerate(gpu.instances):
                    pod, uid = f"work-{number}-{position}", uuid.uuid4()
                    kubelet.give("team", pod, "main", RESOURCE, [instance.uuid])
                    kubelet.offer(f"{RESOURCE}-{number}-{position}", [instance.uuid])
                    for pid in (next(pids) for _ in range(PROCESSES)):
                        gpu.add_process(pid, memory_mib=500, gi=instance.gi, ci=instance.ci)
                        self._add_process(pid, uid)
            yield fake

    def env(self) -> dict[str, str]:
        """Of a program that shall find this driver, and no authorities: exporter/__main__.py."""
        nothing = dict.fromkeys(("SSL_CERT_FILE", "SSL_CERT_DIR"), os.devnull)
        return os.environ | nothing | {"FAKE_NVML_STATE": str(self.state), "LD_LIBRARY_PATH": str(self.library)}

    def _add_process(self, pid: int, uid: uuid.UUID) -> None:
        """As procfs has it. Ordinary files: reading them costs less than procfs does."""
        folder = self.proc / str(pid)
        folder.mkdir(parents=True)
        pod = f"kubepods-burstable-pod{str(uid).replace('-', '_')}.slice"
        container = f"cri-containerd-{uid.hex * 2}.scope"
        (folder / "cgroup").write_text(f"0::/kubepods.slice/kubepods-burstable.slice/{pod}/{container}\n")
        (folder / "stat").write_text(f"{pid} (python3) S " + " ".join(["1"] * 18) + " 4242 " + " ".join(["0"] * 30))
