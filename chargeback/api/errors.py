"""The one place where our exceptions become HTTP statuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from chargeback.store.database import DatabaseUnavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(Exception):
    """A request that cannot be served: its status, and the field, what was seen and what is wanted."""

    def __init__(self, field: str, problem: str, status: int = 400) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.status = status


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadRequest as error:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        return web.json_response(
            {"field": error.field, "problem": error.problem}, status=error.status, headers=headers
        )
    except DatabaseUnavailable as error:
        return web.json_response({"field": "database", "problem": str(error)}, status=503)
    except web.HTTPException as error:
        allow = {name: value for name, value in error.headers.items() if name == "Allow"}  # a 405 must say it
        return web.json_response({"field": "path", "problem": error.reason}, status=error.status, headers=allow)
