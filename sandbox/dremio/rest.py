"""REST: login, SQL, jobs; the catalog and the reflections have modules of their own."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.dremio.auth import Authenticator, token_of
from sandbox.dremio.errors import ApiError, StatementError
from sandbox.dremio.jobs import Jobs
from sandbox.dremio.system_tables import VERSION

logger = logging.getLogger(__name__)

Json = dict[str, Any]
MAX_BODY = 64 << 20


@dataclass(frozen=True)
class Call:
    """A REST call.

    Args:
        user: who calls.
        parts: variables of the route.
        query: query parameters.
        body: the JSON body, empty without one.
        items: the JSON body if it is a list.
        raw_path: the path with its percent signs, since a path segment may hold an encoded slash.
    """

    user: str
    parts: Json
    query: dict[str, str]
    body: Json
    items: list[Any] | None
    raw_path: str


Handler = Callable[[Call], Any]
Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """Collects routes; a handler takes a :class:`Call` and returns what is sent as JSON, or a Response.

    Args:
        authenticator: says who calls.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._routes: list[Route] = []

    def add(self, method: str, path: str, handler: Handler, *, public: bool = False, at_once: bool = False) -> None:
        """Add a route.

        Args:
            method: HTTP method.
            path: Starlette's pattern.
            handler: runs in a thread.
            public: whether it may be called without a token.
            at_once: whether the handler neither waits nor computes, so that the way to a thread would cost more.
        """
        self._routes.append(Route(path, self._endpoint(handler, public, at_once), methods=[method]))

    def _endpoint(self, handler: Handler, public: bool, at_once: bool) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            user = self._authenticator.user_of(request.headers.get("authorization", ""))
            if user is None and not public:
                return failure(401, "User not authenticated")
            try:
                raw = request.scope.get("raw_path") or request.url.path.encode()
                body = await _body(request)
                call = Call(
                    user or "",
                    dict(request.path_params),
                    dict(request.query_params),
                    body if isinstance(body, dict) else {},
                    body if isinstance(body, list) else None,
                    raw.decode("latin-1"),
                )
                answer = handler(call) if at_once else await run_in_threadpool(handler, call)
            except ApiError as error:
                return failure(error.status, error.message, error.more_info)
            except StatementError as error:
                return failure(501 if error.kind == "UNSUPPORTED_OPERATION" else 400, error.message)
            except Exception as error:
                logger.exception("%s %s failed", request.method, request.url.path)
                return failure(500, f"{type(error).__name__}: {error}")
            return answer if isinstance(answer, Response) else JSONResponse(answer)

        return endpoint

    def application(self) -> Starlette:
        """Return the ASGI application with all routes; for others it says that they are missing."""
        return Starlette(routes=self._routes, exception_handlers={HTTPException: _unknown})


async def _unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    where = f"{request.method} {request.url.path}"
    if status == 405:
        return failure(405, "HTTP 405 Method Not Allowed")
    if request.url.path.startswith("/api/v3/") or request.url.path.startswith("/apiv2/"):
        return failure(404, "HTTP 404 Not Found", f"{where} is not an endpoint of the sandbox.")
    return failure(status, "HTTP 404 Not Found")


async def _body(request: Request) -> Json | list[Any]:
    if int(request.headers.get("content-length") or 0) > MAX_BODY:
        raise ApiError(413, "The request is too large.")
    content = await request.body()
    if not content:
        return {}
    try:
        body = json.loads(content)
    except ValueError as error:
        raise ApiError(400, f"Unable to process JSON: {error}") from error
    if body is None:
        return {}
    if not isinstance(body, dict | list):
        raise ApiError(400, "Unable to process JSON: an object or a list is expected.")
    return body


def failure(status: int, message: str, more_info: str = "") -> JSONResponse:
    """Return Dremio's error body."""
    return JSONResponse({"errorMessage": message, "moreInfo": more_info}, status_code=status)


def integer(call: Call, name: str, default: int) -> int:
    """Return a query parameter as a number.

    Raises:
        ApiError: 400 if it is not one.
    """
    try:
        return int(call.query.get(name, default))
    except ValueError as error:
        raise ApiError(400, f"{name} must be a number, not [{call.query.get(name)}]") from error


class SqlApi:
    """Login, status, SQL and jobs.

    Args:
        authenticator: grants tokens.
        jobs: runs statements.
    """

    def __init__(self, authenticator: Authenticator, jobs: Jobs) -> None:
        self._authenticator = authenticator
        self._jobs = jobs

    def register(self, api: Api) -> None:
        """Add the routes."""
        api.add("GET", "/apiv2/server_status", lambda _: JSONResponse("OK"), public=True)
        api.add("POST", "/apiv2/login", self._login, public=True)
        api.add("DELETE", "/apiv2/login", self._logout)
        api.add("POST", "/api/v3/sql", self._sql)
        api.add("GET", "/api/v3/job/{id}", lambda call: self._jobs.get(call.parts["id"]).as_rest(), at_once=True)
        api.add("GET", "/api/v3/job/{id}/results", self._results)
        api.add("POST", "/api/v3/job/{id}/cancel", self._cancel)

    def _login(self, call: Call) -> Any:
        user, password = call.body.get("userName"), call.body.get("password")
        if not isinstance(user, str) or not isinstance(password, str):
            raise ApiError(400, "userName and password are needed")
        login = self._authenticator.login(user, password)
        if login is None:
            raise ApiError(401, "Login failed: Invalid username or password")
        return {
            "token": login.token,
            "userName": login.user,
            "firstName": "",
            "lastName": "",
            "expires": login.expires,
            "email": "",
            "userId": login.user,
            "admin": True,
            "version": VERSION,
            "permissions": {"canUploadProfiles": True, "canDownloadProfiles": True, "canEmailForSupport": False,
                            "canChatForSupport": False},
            "userCreatedAt": 0,
        }  # fmt: skip

    def _logout(self, call: Call) -> Any:
        self._authenticator.logout(token_of(call.query.get("token", "")))
        return Response(status_code=204)

    def _sql(self, call: Call) -> Any:
        text = call.body.get("sql")
        if not isinstance(text, str) or not text.strip():
            raise ApiError(400, "sql can not be empty")
        context = call.body.get("context") or []
        if not isinstance(context, list) or not all(isinstance(part, str) for part in context):
            raise ApiError(400, "context must be a list of names")
        return {"id": self._jobs.submit(text, call.user, tuple(context)).id}

    def _results(self, call: Call) -> Any:
        return self._jobs.page(call.parts["id"], integer(call, "offset", 0), integer(call, "limit", 100))

    def _cancel(self, call: Call) -> Any:
        self._jobs.cancel(call.parts["id"])
        return Response(status_code=204)
