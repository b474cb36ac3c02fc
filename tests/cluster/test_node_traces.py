"""A node of tests leaves no trace, however the tests end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cgroup_tree import own_cgroups, trees_of_tests
from tests.cluster.processes import descendants
from tests.programs import wait_for

_SKIPPED = "Skipped: "
NO_PID = 2**22 + 1  # no process has ever so high a number
RUN = """
import sys, time
from pathlib import Path
from tests.cluster.control_plane import control_plane
from tests.cluster.node import node
folder = Path(sys.argv[1])
with control_plane(folder, node="n1") as plane, node(plane, folder, "n1") as made:
    made.start_pod("default", "left", {"name": "main", "command": ["sleep", "1000"]}, nodeName="n1")
    while made.container("default", "left", "main") is None:
        time.sleep(0.1)
    (folder / "ready").touch()
    time.sleep(1000)
"""


def test_a_killed_run_leaves_no_process(tmp_path: Path) -> None:
    """Control plane, kubelet, runtime and containers go with the run; its empty cgroups, with the next one."""
    with (tmp_path / "run.log").open("wb") as log:
        run = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=log, stderr=log)
    try:
        wait_for("the pod", lambda: _goes_on(run, tmp_path / "run.log") and (tmp_path / "ready").exists())
        left = descendants(run.pid)
        commands = {_command(pid) for pid in left}
        assert any(b"kube-apiserver" in command for command in commands)
        assert any(command.startswith(b"sleep\x001000") for command in commands)  # the container
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    wait_for("all are gone", lambda: not any(_alive(pid) for pid in left))
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()

    def cleared() -> bool:
        own_cgroups().remove()
        return not any(tree.name.startswith(f"gpu-chargeback-test-{run.pid}-") for tree in trees_of_tests())

    wait_for("the next run clears its cgroups", cleared)


def _goes_on(run: subprocess.Popen[bytes], log: Path) -> bool:
    """Skips where a part of the node is not here, as in any test of it."""
    if run.poll() is None:
        return True
    said = log.read_text()
    if _SKIPPED in said:
        pytest.skip(said.rsplit(_SKIPPED, 1)[1].strip())
    raise AssertionError(said[-3000:])


def _command(pid: int) -> bytes:
    """Nothing of one that ended while we looked."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _alive(pid: int) -> bool:
    """Not one that only waits to be buried."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


def test_two_runs_do_not_meet() -> None:
    """One does not take the other's cgroups for a dead run's."""
    first = own_cgroups()
    try:
        own_cgroups().remove()
        assert str(os.getpid()) in first.name
        assert first.name in {tree.name for tree in trees_of_tests()}
    finally:
        first.remove()


def test_a_cgroup_that_goes_while_it_is_looked_into_has_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a container that ends just then, for instance."""
    tree = own_cgroups()
    try:
        monkeypatch.setattr("tests.cluster.cgroup_tree.os.walk", lambda root: [(f"{root}/ended", [], [])])
        assert tree.pids("ended") == []
    finally:
        monkeypatch.undo()
        tree.remove()


def test_what_a_dead_run_cannot_let_go_yet_keeps_nobody_from_starting() -> None:
    """Its last process is about to end: the run after the next one clears up."""
    name = f"gpu-chargeback-test-{NO_PID}-{os.getpid()}"
    own = own_cgroups()
    folders = [tree.with_name(name) for tree in trees_of_tests() if tree.name == own.name]
    with subprocess.Popen(["sleep", "60"]) as last:
        for folder in folders[:1]:
            folder.mkdir()
            (folder / "cgroup.procs").write_text(str(last.pid))
        own_cgroups().remove()
        last.kill()
    own.remove()
    wait_for("it is cleared up", lambda: own_cgroups().remove() or not any(folder.exists() for folder in folders))
