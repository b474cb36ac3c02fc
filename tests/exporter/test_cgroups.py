"""From a process to its pod: every form of /proc/<pid>/cgroup met in the field, then real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import cgroups
from exporter.cgroups import CgroupReader, parse_cgroup
from exporter.reading import CgroupOwner

POD = "3f6a1c52-8e0d-4b7a-9c41-5d2e7f80a963"
POD_ = POD.replace("-", "_")
OTHER_POD = "c04b7e19-52d3-4f86-8a1b-e97f6034d2c5"
STATIC = "9d1e5b70f4c2a8368b0f7c6d5e4a3921"
ID = "4e8b2f7a91c05d36e8f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7"
OTHER_ID = "d1a7c3e95b0f2864a9e8d7c6b5a493827160f5e4d3c2b1a09f8e7d6c5b4a3928"
NODE_ID = "70c9e2d4f1b3a5869d8c7b6a5f4e3d2c1b0a99887766554433221100ffeeddcc"

GUARANTEED = f"/kubepods.slice/kubepods-pod{POD_}.slice"
BURSTABLE = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
BESTEFFORT = f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_}.slice"
KIND = f"/system.slice/docker-{NODE_ID}.scope"
KIND_BESTEFFORT = BESTEFFORT.replace("/kubepods", "/kubelet-kubepods")

# (number, name, line, pod, container, runtime); a bare container id names no runtime.
FORMS = [
    (1, "v1 cgroupfs burstable", f"10:devices:/kubepods/burstable/pod{POD}/{ID}", POD, ID, None),
    (2, "v1 cgroupfs guaranteed", f"9:cpu,cpuacct:/kubepods/pod{POD}/{ID}", POD, ID, None),
    (3, "v1 cgroupfs besteffort", f"6:pids:/kubepods/besteffort/pod{POD}/{ID}", POD, ID, None),
    (4, "v1 systemd docker", f"1:name=systemd:{BURSTABLE}{POD}.slice/docker-{ID}.scope", POD, ID, "docker"),
    (5, "v1 systemd cri-o besteffort", f"8:devices:{BESTEFFORT}/crio-{ID}.scope", POD, ID, "cri-o"),
    (6, "v1 systemd docker guaranteed", f"9:freezer:{GUARANTEED}/docker-{ID}.scope", POD, ID, "docker"),
    (7, "v1 systemd cri-o", f"1:name=systemd:{BURSTABLE}{POD_}.slice/crio-{ID}.scope", POD, ID, "cri-o"),
    (8, "v1 systemd containerd", f"12:hugetlb:{GUARANTEED}/cri-containerd-{ID}.scope", POD, ID, "containerd"),
    (9, "v2 systemd", f"0::{BURSTABLE}{POD_}.slice/cri-containerd-{ID}.scope", POD, ID, "containerd"),
    (10, "v2 systemd cri-dockerd", f"0::{BESTEFFORT}/docker-{ID}.scope", POD, ID, "docker"),
    (11, "v2 cgroupfs", f"0::/kubepods/besteffort/pod{POD}/{ID}", POD, ID, None),
    (12, "v2 cgroupfs cri-o", f"0::/kubepods/besteffort/pod{POD}/crio-{ID}", POD, ID, "cri-o"),
    (13, "static, cgroupfs", f"0::/kubepods/burstable/pod{STATIC}/{ID}", STATIC, ID, None),
    (14, "static", f"0::{BURSTABLE}{STATIC}.slice/cri-containerd-{ID}.scope", STATIC, ID, "containerd"),
    (15, "static, Kind", f"0::{KIND}/kubelet/kubepods/burstable/pod{STATIC}/{ID}", STATIC, ID, None),
    (
        16,
        "Kind, systemd",
        f"0::/docker/{NODE_ID}/kubelet.slice{KIND_BESTEFFORT}/cri-containerd-{ID}.scope",
        POD,
        ID,
        "containerd",
    ),
    (17, "Kind v1", f"5:memory:/docker/{NODE_ID}/kubepods/besteffort/pod{POD}/{ID}", POD, ID, None),
    (18, "Kind's node", f"0::/docker/{NODE_ID}/system.slice/containerd.service", None, NODE_ID, "docker"),
    (19, "Kind guaranteed", f"0::{KIND}/kubelet/kubepods/pod{POD}/{ID}", POD, ID, None),
    (20, "Minikube", f"0::{KIND}{BESTEFFORT}/docker-{ID}.scope", POD, ID, "docker"),
    (21, "Docker Desktop", f"3:memory:/kubepods/kubepods/besteffort/pod{POD}/{ID}", POD, ID, None),
    (
        22,
        "systemd name under cgroupfs",
        f"4:pids:/podruntime.slice/containerd.service/kubepods-burstable-pod{POD_}.slice:cri-containerd:{ID}",
        POD,
        ID,
        "containerd",
    ),
    (
        23,
        "systemd name at the root",
        f"1:cpuset:/kubepods-besteffort-pod{POD_}.slice:cri-containerd:{ID}",
        POD,
        ID,
        "containerd",
    ),
    (24, "own namespace, another pod", f"0::/../../../burstable/pod{POD}/{ID}", POD, ID, None),
    (25, "own namespace, own pod, cri-o", f"0::/../crio-{ID}.scope", None, ID, "cri-o"),
    (26, "own namespace, own pod", f"0::/../cri-containerd-{ID}.scope", None, ID, "containerd"),
    (27, "own namespace, itself", "0::/", None, None, None),
    (28, "cri-o's monitor", f"0::/kubepods/pod{POD}/crio-conmon-{ID}", POD, None, None),
    (29, "plain docker", f"0::/system.slice/docker-{ID}.scope", None, ID, "docker"),
    (30, "podman, crun", f"0::/machine.slice/libpod-{ID}.scope/container", None, ID, "podman"),
    (31, "a host process", "10:devices:/user.slice", None, None, None),
    (32, "systemd inside", f"0::{GUARANTEED}/cri-containerd-{ID}.scope/init.scope", POD, ID, "containerd"),
]


@pytest.mark.parametrize(
    ("line", "pod", "container", "runtime"),
    [pytest.param(*form, id=f"{number} {name}") for number, name, *form in FORMS],
)
def test_every_form(line: str, pod: str | None, container: str | None, runtime: str | None) -> None:
    assert parse_cgroup(line + "\n") == CgroupOwner(pod_uid=pod, container_id=container, runtime=runtime)


def test_the_table_is_whole() -> None:
    assert [number for number, *_ in FORMS] == list(range(1, 33))


def test_a_hybrid_hosts_other_lines_do_not_hide_the_pod() -> None:
    """Form 5 as it came: the v2 line names the runtime's own service."""
    text = f"3:rdma:/\n8:devices:{BESTEFFORT}/crio-{ID}.scope\n0::/system.slice/crio.service\n"
    assert parse_cgroup(text) == CgroupOwner(pod_uid=POD, container_id=ID, runtime="cri-o")


def test_a_hybrid_kind_node_does_not_win_over_its_pod() -> None:
    """Forms 17 and 18 stand in one file."""
    pod = f"5:memory:/docker/{NODE_ID}/kubepods/besteffort/pod{POD}/{ID}"
    node = f"0::/docker/{NODE_ID}/system.slice/containerd.service"
    assert parse_cgroup(f"{pod}\n{node}\n") == CgroupOwner(pod_uid=POD, container_id=ID)


def test_the_outermost_pod_counts() -> None:
    """What a cluster inside a pod calls its pods, this cluster does not know."""
    nested = f"0::/kubepods/pod{POD}/{ID}/kubepods/pod{OTHER_POD}/{OTHER_ID}"
    assert parse_cgroup(nested) == CgroupOwner(pod_uid=POD, container_id=ID)


def test_lines_that_name_two_pods_are_not_believed() -> None:
    text = f"2:cpu:/kubepods/pod{POD}/{ID}\n1:pids:/kubepods/pod{OTHER_POD}/{ID}\n"
    assert parse_cgroup(text) == CgroupOwner()


def test_lines_that_name_two_containers_of_a_pod_leave_the_pod() -> None:
    text = f"2:cpu:/kubepods/pod{POD}/crio-{ID}\n1:pids:/kubepods/pod{POD}/crio-{OTHER_ID}\n"
    assert parse_cgroup(text) == CgroupOwner(pod_uid=POD)


def test_a_line_that_stops_at_the_pod_does_not_hide_the_container() -> None:
    text = f"2:cpu:/kubepods/pod{POD}\n1:pids:/kubepods/pod{POD}/crio-{ID}\n"
    assert parse_cgroup(text) == CgroupOwner(pod_uid=POD, container_id=ID, runtime="cri-o")


def test_a_cgroup_cannot_be_named_into_another_pod() -> None:
    """A workload may name its own cgroups; only the kernel's newline begins a line."""
    for separator in ("\x0b", "\x1c", "\x85", "\u2028", "\r"):
        text = f"0::/kubepods/pod{POD}/{ID}/x{separator}0::/kubepods/pod{OTHER_POD}/{OTHER_ID}\n"
        assert parse_cgroup(text) == CgroupOwner(pod_uid=POD, container_id=ID)


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods/pod{POD}0/x",  # one digit too many
        f"/kubepods/pod{POD[:-1]}/x",
        f"/kubepods/mypod{POD}/x",
        f"/kubepods/pod{STATIC}ab/x",
        f"/{ID}0",
        f"/{ID[1:]}",
    ],
)
def test_near_misses_are_nobodys(path: str) -> None:
    assert parse_cgroup(f"0::{path}\n") == CgroupOwner()


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    """It comes from a file, so it may be anything; it never raises."""
    parse_cgroup(text)


@given(st.permutations([f"0::{path}" for path in ("/", "/user.slice", f"/docker/{NODE_ID}")]), st.integers(0, 3))
def test_a_line_with_a_pod_wins_wherever_it_stands(others: list[str], place: int) -> None:
    lines = [*others[:place], f"4:memory:/kubepods/pod{POD}/crio-{ID}", *others[place:]]
    assert parse_cgroup("\n".join(lines)) == CgroupOwner(pod_uid=POD, container_id=ID, runtime="cri-o")


class Proc:
    """A procfs of a test's own, so that a pid can be given to another process."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def start(self, pid: int, cgroup: str, *, started: int, name: str = "python3", state: str = "S") -> None:
        (self.root / str(pid)).mkdir(exist_ok=True)
        fields = [state, *["0"] * 18, str(started), *["0"] * 30]  # from the third field on; the 22nd is the start
        (self.root / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
        (self.root / str(pid) / "cgroup").write_bytes(cgroup.encode())


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_a_process_is_read_once(proc: Proc) -> None:
    """While it runs it stays in its pod, so its cgroup is not read again."""
    reader = CgroupReader(proc.root)
    proc.start(7, f"0::/kubepods/pod{POD}/{ID}", started=100)
    first = reader.owner_of(7)
    (proc.root / "7/cgroup").unlink()
    assert first == reader.owner_of(7) == CgroupOwner(pod_uid=POD, container_id=ID)


def test_a_reused_pid_belongs_to_its_new_pod(proc: Proc) -> None:
    reader = CgroupReader(proc.root)
    proc.start(7, f"0::/kubepods/pod{POD}/{ID}", started=100)
    reader.owner_of(7)
    proc.start(7, f"0::/kubepods/pod{OTHER_POD}/{OTHER_ID}", started=200)
    assert reader.owner_of(7) == CgroupOwner(pod_uid=OTHER_POD, container_id=OTHER_ID)


def test_a_process_outside_pods_is_read_again(proc: Proc) -> None:
    """A runtime starts a process first and moves it into its pod then."""
    reader = CgroupReader(proc.root)
    proc.start(7, "0::/system.slice/containerd.service", started=100)
    assert reader.owner_of(7) == CgroupOwner()
    proc.start(7, f"0::/kubepods/pod{POD}/{ID}", started=100)
    assert reader.owner_of(7) == CgroupOwner(pod_uid=POD, container_id=ID)


def test_a_name_cannot_shift_the_start_time(proc: Proc) -> None:
    """A process chooses its own name."""
    reader = CgroupReader(proc.root)
    for started, pod in ((100, POD), (200, OTHER_POD)):
        proc.start(7, f"0::/kubepods/pod{pod}/{ID}", started=started, name="a) S 0 (b\n) 1")
        assert reader.owner_of(7) == CgroupOwner(pod_uid=pod, container_id=ID)


def test_a_carriage_return_begins_no_line(proc: Proc) -> None:
    """The kernel lets a workload use it in the name of its own cgroup."""
    proc.start(7, f"0::/kubepods/pod{POD}/{ID}/x\r0::/kubepods/pod{OTHER_POD}/{OTHER_ID}\n", started=100)
    assert CgroupReader(proc.root).owner_of(7) == CgroupOwner(pod_uid=POD, container_id=ID)


def test_a_process_that_has_gone_is_none(proc: Proc) -> None:
    assert CgroupReader(proc.root).owner_of(7) is None


@pytest.mark.parametrize(
    ("cgroup", "owner"),
    [
        ("0::/system.slice/sshd.service", CgroupOwner()),
        (f"0::/kubepods/pod{POD}/{ID}", CgroupOwner(pod_uid=POD, container_id=ID)),
    ],
)
def test_a_process_that_has_gone_since_is_whose_it_was(proc: Proc, cgroup: str, owner: CgroupOwner) -> None:
    """What a stranger's process did last is not its card's holder's, who is taken for whom nobody can name."""
    reader = CgroupReader(proc.root)
    proc.start(7, cgroup, started=100)
    reader.owner_of(7)
    proc.start(7, "0::/", started=100, state="Z")  # only waits to be taken note of
    assert reader.owner_of(7) == owner
    proc.start(7, cgroup, started=100)
    (proc.root / "7/cgroup").unlink()  # gone between the two files
    assert reader.owner_of(7) == owner
    shutil.rmtree(proc.root / "7")
    assert reader.owner_of(7) == owner
    reader.prune(set())
    assert reader.owner_of(7) is None


def test_pruned_processes_are_read_again(proc: Proc) -> None:
    reader = CgroupReader(proc.root)
    for pid in (7, 8):
        proc.start(pid, f"0::/kubepods/pod{POD}/{ID}", started=100)
        reader.owner_of(pid)
        (proc.root / str(pid) / "cgroup").unlink()
    reader.prune({7})
    assert reader.owner_of(7) is not None
    assert reader.owner_of(8) is None


def test_memory_is_bounded(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the process not asked about for longest is read again, and nothing else changes."""
    monkeypatch.setattr(cgroups, "PROCESSES_MAX", 2)
    reader = CgroupReader(proc.root)
    for pid in (7, 8, 7, 9):
        proc.start(pid, f"0::/kubepods/pod{POD}/{ID}", started=100)
        assert reader.owner_of(pid) is not None
    for pid in (7, 8, 9):
        (proc.root / str(pid) / "cgroup").unlink()
    assert reader.owner_of(7) is not None
    assert reader.owner_of(8) is None
    assert reader.owner_of(9) is not None


def cgroup_mount(kind: str) -> Path:
    """Where the kernel has cgroups of this kind; any hierarchy of v1 but cpuset, which wants CPUs set up first."""
    for mount in Path("/proc/mounts").read_text().splitlines():
        _, path, found, options, *_ = mount.split()
        if found == kind and "cpuset" not in options.split(","):
            return Path(path)
    pytest.skip(f"no {kind} hierarchy is mounted here")


@pytest.fixture(params=["cgroup2", "cgroup"])
def container_cgroup(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A container's cgroup as the kubelet makes it, under a root of its own, where no kubelet tidies up."""
    if os.geteuid() != 0:
        pytest.skip("making a cgroup takes root")
    root = cgroup_mount(request.param) / f"gpu-chargeback-test-{uuid.uuid4().hex}"
    levels = [root, root / "kubepods", root / "kubepods/burstable", root / f"kubepods/burstable/pod{POD}"]
    levels.append(levels[-1] / ID)
    made: list[Path] = []
    try:
        for level in levels:
            try:
                level.mkdir()
            except OSError as error:
                pytest.skip(f"no cgroup can be made here: {error}")
            made.append(level)
        yield made[-1]
    finally:
        for level in reversed(made):
            level.rmdir()


def test_a_real_process_in_a_real_cgroup(container_cgroup: Path) -> None:
    reader = CgroupReader(Path("/proc"))
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            before = reader.owner_of(process.pid)
            (container_cgroup / "cgroup.procs").write_text(str(process.pid))
            assert before is not None
            assert before.pod_uid is None
            assert reader.owner_of(process.pid) == CgroupOwner(pod_uid=POD, container_id=ID)
        finally:
            process.kill()
    assert reader.owner_of(process.pid) == CgroupOwner(pod_uid=POD, container_id=ID)
    assert CgroupReader(Path("/proc")).owner_of(process.pid) is None
