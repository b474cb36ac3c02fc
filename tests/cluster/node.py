"""A real node beside the control plane: containerd and a kubelet, in namespaces and a cgroup of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import binaries
from tests.cluster.cgroup_tree import CgroupTree, own_cgroups
from tests.cluster.control_plane import NODE_TOKEN, ControlPlane, Refused
from tests.cluster.daemon import Daemon
from tests.cluster.image import IMAGE, SANDBOX_IMAGE, write_image
from tests.cluster.sandbox import Sandbox
from tests.programs import free_port

READY_WITHIN_S = 60.0
CNI_PLUGINS = Path("/usr/lib/cni")
STATIC_PODS = "static-pods"  # in the kubelet's folder
RUNTIME_SOCKET = "/run/containerd/containerd.sock"
# Without the plugin that would make a folder in /opt. A runtime class `nvidia` is there as on a GPU node: it is
# runc, for the driver's library reaches its containers as a mounted folder.
_CONTAINERD = """
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_plugins}"
    conf_dir = "{folder}/cni"
"""
# Pods use the host's network: the kubelet only wants to see that there is one.
_NETWORK = {"cniVersion": "0.4.0", "name": "loopback", "plugins": [{"type": "loopback"}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A running container as the machine has it. pid: of its first process, as seen outside the sandbox.

    env: what that process began with, kept, for it may end any time
    """

    container_id: str
    pid: int
    env: Mapping[str, str]

    @property
    def node_pid(self) -> int:
        """Its pid as the node's driver would name it: that of the sandbox."""
        return node_pid(self.pid)

    @property
    def visible_devices(self) -> set[str]:
        """What the device plugin gave it; nothing is said to a container without devices."""
        return set(filter(None, self.env.get("NVIDIA_VISIBLE_DEVICES", "").split(",")))

    @property
    def root(self) -> Path:
        """Its root folder, mounted volumes included."""
        return Path(f"/proc/{self.pid}/root")


def node_pid(pid: int) -> int:
    """The pid that a process of the sandbox has there."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that is Ready. kubelet_folder: its /var/lib/kubelet, seen from outside."""

    name: str
    plane: ControlPlane
    sandbox: Sandbox
    cgroups: CgroupTree
    kubelet: Daemon
    runtime: Daemon

    @property
    def kubelet_folder(self) -> Path:
        return self.sandbox.kubelet_folder

    def start_pod(self, namespace: str, name: str, *containers: Mapping[str, Any], **spec: Any) -> None:
        """Create a pod. A container's image, and what all pods of tests share, need not be said."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        self.plane.create(path, "Pod", name, spec=_pod_spec(containers, spec))

    def start_static_pod(self, namespace: str, name: str, *containers: Mapping[str, Any]) -> None:
        """Lay a manifest into the kubelet's folder; the API server will know it by a mirror, NAME-NODE."""
        metadata = {"name": name, "namespace": namespace}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _pod_spec(containers, {})}
        (self.kubelet_folder / STATIC_PODS / f"{name}.json").write_text(json.dumps(pod))

    def start_job(self, namespace: str, name: str, container: Mapping[str, Any]) -> None:
        """Create a Job of one pod that is not tried again."""
        template = {"spec": _pod_spec([container], {"restartPolicy": "Never"})}
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.plane.create(path, "Job", name, version="batch/v1", spec={"template": template, "backoffLimit": 0})

    def pod_of_job(self, namespace: str, job: str) -> str | None:
        """The pod's name, once the Job's controller has made it."""
        found = self.plane.call("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector=job-name%3D{job}")["items"]
        return str(found[0]["metadata"]["name"]) if found else None

    def pod(self, namespace: str, name: str) -> dict[str, Any]:
        """The pod as the API server has it."""
        found: dict[str, Any] = self.plane.call("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
        return found

    def container(self, namespace: str, pod: str, name: str) -> Container | None:
        """The container by what the API server says of it; None while it is not running."""
        for status in self.pod(namespace, pod).get("status", {}).get("containerStatuses", []):
            if status["name"] == name and "running" in status["state"]:
                return self.container_of(status["containerID"].removeprefix("containerd://"))
        return None

    def container_of(self, container_id: str) -> Container | None:
        """The container by its id; None where its processes have ended, whatever the API server says."""
        pids = self.cgroups.pids(container_id)
        with suppress(IndexError, FileNotFoundError, ProcessLookupError):
            entries = Path(f"/proc/{pids[0]}/environ").read_bytes().decode().split("\0")
            env = dict(entry.split("=", 1) for entry in entries if entry)
            return Container(container_id=container_id, pid=pids[0], env=env) if env else None
        return None

    def log(self, namespace: str, pod: str, container: str) -> str:
        """What a container's first process has written, while the pod is not deleted."""
        uid = self.pod(namespace, pod)["metadata"]["uid"]
        file = self.sandbox.root / f"var/log/pods/{namespace}_{pod}_{uid}/{container}/0.log"
        return "".join(line.split(" ", 3)[3] for line in file.read_text().splitlines(keepends=True))

    def checkpoint(self) -> dict[tuple[str, str], set[str]]:
        """Device ids by (pod's UID, container), as the kubelet notes them on disk."""
        file = self.kubelet_folder / "device-plugins/kubelet_internal_checkpoint"
        found: dict[tuple[str, str], set[str]] = {}
        for entry in json.loads(file.read_text())["Data"]["PodDeviceEntries"]:
            ids = {each for devices in entry["DeviceIDs"].values() for each in devices}
            found.setdefault((entry["PodUID"], entry["ContainerName"]), set()).update(ids)
        return found

    def allocatable(self) -> dict[str, str]:
        """What the node offers of NVIDIA's resources, as the API server has it."""
        found = self.plane.call("GET", f"/api/v1/nodes/{self.name}")["status"].get("allocatable", {})
        return {name: count for name, count in found.items() if name.startswith("nvidia.com/")}


def _pod_spec(containers: Iterable[Mapping[str, Any]], spec: Mapping[str, Any]) -> dict[str, Any]:
    shared = {"hostNetwork": True, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1}
    made = [{"image": IMAGE, "imagePullPolicy": "Never", **container} for container in containers]
    return {**shared, **spec, "containers": made}


@contextmanager
def node(plane: ControlPlane, folder: Path, name: str) -> Iterator[Node]:
    """Start a node in a folder. Skips where a part is not here, or where we are not root."""
    kubelet = binaries.find("kubelet")
    if kubelet is None:
        pytest.skip(f"no kubelet here: {binaries.HOW}")
    if not (shutil.which("containerd") and shutil.which("runc") and CNI_PLUGINS.is_dir()):
        pytest.skip("no container runtime here: install containerd, runc and containernetworking-plugins")
    _write_settings(plane, folder)
    with ExitStack() as running:
        sandbox = running.enter_context(Sandbox(folder))
        cgroups = own_cgroups()
        running.callback(_empty, sandbox, cgroups)
        (sandbox.kubelet_folder / STATIC_PODS).mkdir()
        (folder / "kubelet.yaml").write_text(json.dumps(_kubelet_settings(cgroups.name)))
        runtime = sandbox.daemon(["containerd", "--config", f"{folder}/containerd.toml"], folder / "containerd.log")
        running.enter_context(runtime)
        _import_image(sandbox, runtime, folder)
        arguments = [
            *("--config", f"{folder}/kubelet.yaml", "--kubeconfig", str(plane.kubeconfig(NODE_TOKEN))),
            *("--hostname-override", name, "--root-dir", "/var/lib/kubelet"),
        ]
        daemon = running.enter_context(sandbox.daemon([str(kubelet), *arguments], folder / "kubelet.log"))
        made = Node(
            name=name, plane=plane, sandbox=sandbox, cgroups=cgroups, kubelet=daemon, runtime=runtime
        )  # fmt: skip
        _wait_ready(made)
        yield made


def _empty(sandbox: Sandbox, cgroups: CgroupTree) -> None:
    """In this order: a cgroup goes only when its processes have."""
    sandbox.__exit__(None, None, None)
    cgroups.remove()


def _write_settings(plane: ControlPlane, folder: Path) -> None:
    (folder / "cni").mkdir()
    (folder / "cni/loopback.conflist").write_text(json.dumps(_NETWORK))
    (folder / "containerd.toml").write_text(
        _CONTAINERD.format(folder=folder, socket=RUNTIME_SOCKET, sandbox_image=SANDBOX_IMAGE, cni_plugins=CNI_PLUGINS)
    )


def _kubelet_settings(cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{RUNTIME_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "address": "127.0.0.1",
        "port": free_port(),
        "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "makeIPTablesUtilChains": False,
        "localStorageCapacityIsolation": False,
        # The machine's disk and memory are not what is tested: no pod is evicted, no image collected.
        "evictionHard": {"memory.available": "1Mi"},
        "imageGCHighThresholdPercent": 100,
        "resolvConf": "",
        "nodeStatusUpdateFrequency": "1s",
        "syncFrequency": "5s",
        "fileCheckFrequency": "1s",
        "staticPodPath": f"/var/lib/kubelet/{STATIC_PODS}",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        # A container that is killed again and again is begun again as soon.
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
    }


def _import_image(sandbox: Sandbox, runtime: Daemon, folder: Path) -> None:
    """As soon as containerd listens."""
    write_image(folder / "image.tar")
    command = sandbox.inside(["ctr", "--address", RUNTIME_SOCKET, "-n", "k8s.io", "image", "import"])
    command += ["--snapshotter", "native", str(folder / "image.tar")]
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=READY_WITHIN_S)
        if done.returncode == 0:
            return
        if not runtime.alive() or time.monotonic() > deadline:
            pytest.fail(f"containerd takes no image: {done.stderr}\n{runtime.said()}")
        time.sleep(0.2)


def _wait_ready(node: Node) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and node.kubelet.alive():
        try:
            status = node.plane.call("GET", f"/api/v1/nodes/{node.name}").get("status", {})
        except Refused:  # it has not registered yet
            status = {}
        if any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", [])):
            return
        time.sleep(0.2)
    pytest.fail(f"the node is not Ready after {READY_WITHIN_S:.0f} s:\n{node.kubelet.said()}")
