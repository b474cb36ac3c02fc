"""Who we are to the API by a kubeconfig, for as long as we run: its tokens last minutes, a server lasts months."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chargeback.cluster.api import ApiError
from chargeback.cluster.login import RENEW_S, find_cluster

PLUGIN = """\
#!/bin/sh
cat {token} >&2 || exit 1
printf '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": '
printf '{{"token": "%s", "expirationTimestamp": "2026-10-03T14:00:00Z"}}}}' "$(cat {token})"
"""


def kubeconfig(folder: Path, user: dict[str, Any]) -> Path:
    """Of one cluster, in which we are that user."""
    file = folder / "kubeconfig"
    said = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
    }
    file.write_text(json.dumps(said))
    return file


@pytest.mark.parametrize("by", ["plugin", "file"])
async def test_a_token_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """A plugin of EKS gives one for 15 minutes, of GKE for an hour; what it cannot give leaves the one before."""
    token, plugin, now_s = tmp_path / "token", tmp_path / "plugin", [0.0]
    monkeypatch.setattr("chargeback.cluster.login.time.monotonic", lambda: now_s[0])
    token.write_text("first")
    plugin.write_text(PLUGIN.format(token=token))
    plugin.chmod(0o755)
    asked = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}
    configuration = await find_cluster(
        kubeconfig(tmp_path, {"exec": asked} if by == "plugin" else {"tokenFile": str(token)})
    )
    assert configuration is not None

    async def sent() -> str:
        found: str = (await configuration.auth_settings())["BearerToken"]["value"]
        return found

    assert await sent() == "Bearer first"
    token.write_text("second")
    assert await sent() == "Bearer first"  # not for each call
    now_s[0] += RENEW_S
    assert await sent() == "Bearer second"
    if by == "plugin":
        token.unlink()
        now_s[0] += RENEW_S
        assert await sent() == "Bearer second"


async def test_a_plugin_that_gives_nothing_is_no_login(tmp_path: Path) -> None:
    """Without a token nobody would ask for another: we would be anonymous for ever."""
    asked = {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}
    with pytest.raises(ApiError, match="its exec plugin gave neither a token nor a certificate"):
        await find_cluster(kubeconfig(tmp_path, {"exec": asked}))
    assert await find_cluster(kubeconfig(tmp_path, {})) is not None  # as of `kubectl proxy`
