"""Whether a reviewed token may speak for a node: the rule alone."""

from __future__ import annotations

from dataclasses import dataclass

AUDIENCE = "chargeback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What the cluster says of a token. node: to which its pod is bound, None for a token that is bound to none."""

    authenticated: bool
    username: str = ""
    audiences: tuple[str, ...] = ()
    node: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAccount:
    """The ServiceAccount under which agents run."""

    namespace: str
    name: str

    @property
    def username(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"


def refusal(review: Review, account: AgentAccount, node: str) -> tuple[int, str] | None:
    """HTTP status and reason why this token may not report for the node; None: it may.

    401: it is no valid token for us; 403: it is valid, and somebody else's or another node's.
    """
    if not review.authenticated:
        return 401, f"not a valid token of the cluster{f': {review.error}' if review.error else ''}"
    if AUDIENCE not in review.audiences:
        return 401, f"a token for {', '.join(review.audiences) or 'no audience'}: want one for {AUDIENCE}"
    if review.username != account.username:
        return 403, f"a token of {review.username}: want one of {account.username}"
    if review.node is None:
        return 403, "a token that is bound to no node: want a pod's projected token (Kubernetes 1.30 or later)"
    if review.node != node:
        return 403, f"a token of a pod on {review.node}: want one on {node}"
    return None
