"""The public API: application, health and tokens; its resources are in the routers below."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from sandbox.airbyte import problems, public_actors, public_connections, public_definitions, public_jobs
from sandbox.airbyte.problems import bad_request
from sandbox.airbyte.state import State

ROOT = "/api/public/v1"


def create_app(state: State) -> FastAPI:
    """Return the application that serves the public API.

    Args:
        state: the running server.
    """
    app = FastAPI(title="Airbyte public API (sandbox)", **problems.NO_EXTRAS)
    problems.install(app)

    def authorized(request: Request) -> None:
        state.tokens.check(request.headers.get("authorization"))

    @app.get(f"{ROOT}/health")
    def health() -> PlainTextResponse:
        return PlainTextResponse("Successful operation")

    @app.post(f"{ROOT}/applications/token")
    async def token(request: Request) -> Response:
        given = _credentials(await request.body(), request.headers.get("content-type", ""))
        issued = await run_in_threadpool(state.tokens.issue, given["client_id"], given["client_secret"])
        if issued is None:
            return JSONResponse({"errorId": str(uuid.uuid4())}, 401)
        body = {"access_token": issued, "token_type": "Bearer", "expires_in": state.tokens.lifetime_seconds}
        return JSONResponse(body)

    protected: dict[str, Any] = {"prefix": ROOT, "dependencies": [Depends(authorized)]}
    for module in (public_actors, public_connections, public_jobs, public_definitions):
        app.include_router(module.router(state), **protected)
    return app


def _credentials(body: bytes, content_type: str) -> dict[str, str]:
    """Read client id and secret from a form or a JSON object.

    Raises:
        Problem: 400 if the body is neither, or lacks a field.
    """
    given: Any
    if content_type.startswith("application/x-www-form-urlencoded"):
        given = {key: values[-1] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}
    else:
        try:
            given = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise bad_request("body: is neither a form nor JSON") from error
    if not isinstance(given, dict):
        raise bad_request("body: must be an object with client_id and client_secret")
    for name in ("client_id", "client_secret"):
        if not isinstance(given.get(name), str):
            raise bad_request(f"{name}: Field required")
    if given.get("grant_type", given.get("grant-type", "client_credentials")) != "client_credentials":
        raise bad_request("grant_type: must be client_credentials")
    return given
