"""`chargeback serve` as a process under exactly the shipped rights, and what it costs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.control_plane import AGGREGATOR_TOKEN, ControlPlane
from tests.cluster.quota_page import differences
from tests.programs import Program, running, wait_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """ready_s: from the start of the process until it said that it is ready."""

    program: Program
    started_s: float
    ready_s: float

    def wait_equal(self, plane: ControlPlane, within_s: float) -> float:
        """Wait until every quota on the page is as the controller counts it. Returns the seconds since the start."""
        found: list[str] = ["not asked yet"]

        def equal() -> bool:
            found[:] = differences(plane, self.program.get("/metrics"))
            if found:
                time.sleep(0.5)  # asking for every quota is work for the API server too
            return not found

        try:
            wait_for("the controller's quotas on the page", equal, within_s)
        except AssertionError as error:
            log = self.program.log.read_text()[-2000:]
            raise AssertionError("\n".join([str(error), f"{len(found)} differ", *found[:10], log])) from None
        return time.monotonic() - self.started_s

    def peak_bytes(self) -> int:
        """The most memory that was ever resident, as the kernel keeps it: no sampling can miss it."""
        return peak_bytes(self.program.process.pid)

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.program.process.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = fields[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int | str) -> int:
    """pid: or `self`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def serving(plane: ControlPlane, folder: Path, *arguments: str) -> Iterator[Serving]:
    """Ready on entry. folder: of its ledger and its log."""
    folder.mkdir(exist_ok=True)
    command = (
        *("serve", "--data", str(folder), "--cluster", "lab"),
        *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN)), *arguments),
    )
    started_s = time.monotonic()
    with running("chargeback.cli.main", *command, log=folder / "serve.log") as program:
        yield Serving(program=program, started_s=started_s, ready_s=time.monotonic() - started_s)
