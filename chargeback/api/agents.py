"""Who may push node-hours: agents with a static token, or with the projected token of their pod."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Protocol

from aiohttp import web

from chargeback.api.errors import BadRequest
from chargeback.api.tokens import Tokens
from chargeback.clock import Clock
from chargeback.cluster.api import ApiError
from chargeback.core.agents import AgentAccount, Review, refusal

# An agent pushes every half minute: most pushes ask nobody. A pod that is gone is believed for so long at the most.
VALID_FOR_MS = 60_000
INVALID_FOR_MS = 5_000
# Two tokens of each node of the largest cluster; beyond that the oldest are asked for again.
REMEMBERED_MAX = 10_000


class Reviewer(Protocol):
    """Says whose a token is; raises ApiError where it cannot be asked."""

    async def review(self, token: str) -> Review: ...


class Agents:
    """Checks pushes. Without static tokens and a reviewer everybody may push: then only loopback is served.

    cluster  the reviewer's: of whose nodes alone its tokens tell
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        clock: Clock,
        cluster: str,
        reviewer: Reviewer | None = None,
        account: AgentAccount | None = None,
        valid_for_ms: int = VALID_FOR_MS,
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._cluster = cluster
        self._reviewer = reviewer
        self._account = account
        self._valid_for_ms = valid_for_ms
        # By hash, for a token must not lie about in memory: until when it is believed, and what was said of it.
        self._reviews: OrderedDict[str, tuple[int, Review]] = OrderedDict()

    async def check(self, request: web.Request, cluster: str, node: str) -> None:
        """Raises BadRequest (401, 403) unless the request may report for the node; 503 if nobody can say."""
        if self._reviewer is None or self._account is None:
            self._tokens.check(request)
            return
        if self._tokens.knows(request):
            return
        review = await self._review(self._reviewer, self._tokens.bearer(request))
        if refused := refusal(review, self._account, node):
            status, reason = refused
            raise BadRequest("Authorization", reason, status=status)
        if cluster != self._cluster:
            reason = f"a token of cluster {self._cluster}: want a static one for {cluster}, or the same --cluster"
            raise BadRequest("Authorization", reason, status=403)

    async def _review(self, reviewer: Reviewer, token: str) -> Review:
        key = hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
        now_ms = self._clock.now_ms()
        until_ms, review = self._reviews.get(key, (0, None))
        if review is not None and now_ms < until_ms:
            return review
        try:
            review = await reviewer.review(token)
        except ApiError as error:
            raise BadRequest("Authorization", f"the cluster cannot be asked: {error}", status=503) from error
        self._reviews[key] = (now_ms + (self._valid_for_ms if review.authenticated else INVALID_FOR_MS), review)
        self._reviews.move_to_end(key)
        while len(self._reviews) > REMEMBERED_MAX:
            self._reviews.popitem(last=False)
        return review
