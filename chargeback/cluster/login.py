"""How to reach the API, and who we are to it: by a kubeconfig, or by the in-cluster account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from kubernetes.aio import client, config
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.kube_config import KubeConfigLoader

from chargeback.cluster.api import TIMEOUT_S, ApiError

# So often a token of a kubeconfig is looked at again, as the client does with that of the in-cluster account.
RENEW_S = 60.0


async def find_cluster(kubeconfig: Path | None) -> client.Configuration | None:
    """How to reach the API: by the kubeconfig, else by the in-cluster account; None where neither is there.

    Raises ApiError for a kubeconfig that cannot be used.
    """
    configuration = client.Configuration()
    try:
        if kubeconfig is not None:
            loader = await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
            if "exec" in (loader._user or ()) and not (configuration.api_key or configuration.cert_file):
                raise ConfigException("its exec plugin gave neither a token nor a certificate: see the log for why")
            configuration.refresh_api_key_hook = _renewing(loader)
        else:
            config.load_incluster_config(client_configuration=configuration)
    except (ConfigException, OSError) as error:
        if kubeconfig is None:
            return None
        raise ApiError(f"--kubeconfig={kubeconfig}: {error}") from error
    return configuration


def _renewing(loader: KubeConfigLoader) -> Callable[[client.Configuration], Awaitable[None]]:
    """Called before each call: reads a file of a token again, asks a plugin whose token ends. The client does not."""
    renewed_s = time.monotonic()

    async def renew(configuration: client.Configuration) -> None:
        nonlocal renewed_s
        if time.monotonic() - renewed_s < RENEW_S:
            return
        renewed_s = time.monotonic()  # before it is done: other calls go on as we were meanwhile
        async with asyncio.timeout(TIMEOUT_S):
            await loader.load_and_set(configuration)

    return renew
