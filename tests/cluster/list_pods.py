"""List a cluster's GPU pods as the aggregator does, in a process of its own: how long, and with how much memory.

`python -m tests.cluster.list_pods KUBECONFIG` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from chargeback.cluster.api import ClusterApi
from chargeback.cluster.kinds import kinds
from chargeback.cluster.login import find_cluster
from chargeback.core.owners.owners import LabelKeys
from tests.cluster.serving import peak_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """seconds, cpu_s: of the list alone. peak_bytes: of the whole process, what it imports included."""

    pods: int
    seconds: float
    cpu_s: float
    peak_bytes: int


def list_pods(kubeconfig: Path) -> Listed:
    """In a new process, whose memory is nobody else's."""
    command = [sys.executable, "-m", __spec__.name, str(kubeconfig)]
    return Listed(**json.loads(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout))


async def _list(kubeconfig: Path) -> Listed:
    configuration = await find_cluster(kubeconfig)
    assert configuration is not None
    (pods,) = (kind for kind in kinds(LabelKeys()) if kind.name == "pods")
    async with ClusterApi(configuration) as api:
        started_s, cpu_s = time.monotonic(), time.process_time()
        found = (await api.list_all(pods)).items
        return Listed(
            pods=len(found),
            seconds=time.monotonic() - started_s,
            cpu_s=time.process_time() - cpu_s,
            peak_bytes=peak_bytes("self"),
        )


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_list(Path(sys.argv[1]))))))
