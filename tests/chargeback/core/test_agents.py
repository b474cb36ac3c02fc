"""Which reviewed token may report for which node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chargeback.core.agents import AgentAccount, Review, refusal

ACCOUNT = AgentAccount(namespace="gpu-chargeback", name="gpu-exporter")
GOOD = Review(
    authenticated=True,
    username="system:serviceaccount:gpu-chargeback:gpu-exporter",
    audiences=("chargeback",),
    node="n1",
)


def test_the_agents_own_token_is_taken_for_its_node() -> None:
    assert refusal(GOOD, ACCOUNT, "n1") is None


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"authenticated": False, "error": "expired"}, 401, "expired"),
        ({"audiences": ("https://k",)}, 401, "want one for chargeback"),
        ({"audiences": ()}, 401, "no audience"),
        ({"username": "system:serviceaccount:default:default"}, 403, "want one of system:serviceaccount:gpu-"),
        ({"node": None}, 403, "bound to no node"),
        ({"node": "n2"}, 403, "a pod on n2: want one on n1"),
    ],
)
def test_every_other_is_refused_with_its_reason(changes: dict[str, object], status: int, said: str) -> None:
    refused = refusal(replace(GOOD, **changes), ACCOUNT, "n1")  # type: ignore[arg-type]
    assert refused is not None
    assert refused[0] == status
    assert said in refused[1]
