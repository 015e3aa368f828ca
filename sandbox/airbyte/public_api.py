"""The public API: application, health and tokens; its resources are in the routers below."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, Request, Security
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from sandbox.airbyte import (
    description,
    problems,
    public_actors,
    public_connections,
    public_definitions,
    public_jobs,
    responses,
)
from sandbox.airbyte.problems import bad_request
from sandbox.airbyte.state import State

ROOT = "/api/public/v1"
_BEARER = HTTPBearer(bearerFormat="JWT", auto_error=False)
_CREDENTIALS = {
    "type": "object",
    "properties": {
        "client_id": {"type": "string"},
        "client_secret": {"type": "string"},
        "grant_type": {"const": "client_credentials"},
        "grant-type": {"const": "client_credentials"},
    },
    "required": ["client_id", "client_secret"],
}
_FORMS = ("application/json", "application/x-www-form-urlencoded")
_TOKEN_BODY = {"requestBody": {"required": True, "content": {form: {"schema": _CREDENTIALS} for form in _FORMS}}}


def create_app(state: State) -> FastAPI:
    """Return the application that serves the public API.

    Args:
        state: the running server.
    """
    app = FastAPI(title="Airbyte public API (sandbox)", **problems.NO_EXTRAS)
    problems.install(app)

    def authorized(request: Request, _: Annotated[Any, Security(_BEARER)]) -> None:
        state.tokens.check(request.headers.get("authorization"))

    @app.get(f"{ROOT}/health", response_class=PlainTextResponse)
    def health() -> PlainTextResponse:
        return PlainTextResponse("Successful operation")

    @app.post(
        f"{ROOT}/applications/token",
        response_model=responses.Token,
        responses={**description.errors(400), 401: {"model": responses.Refused, "description": "Wrong credentials."}},
        openapi_extra=_TOKEN_BODY,
    )
    async def token(request: Request) -> Response:
        given = _credentials(await request.body(), request.headers.get("content-type", ""))
        issued = await run_in_threadpool(state.tokens.issue, given["client_id"], given["client_secret"])
        if issued is None:
            return JSONResponse({"errorId": str(uuid.uuid4())}, 401)
        body = {"access_token": issued, "token_type": "Bearer", "expires_in": state.tokens.lifetime_seconds}
        return JSONResponse(body)

    protected: dict[str, Any] = {
        "prefix": ROOT,
        "dependencies": [Depends(authorized)],
        "responses": description.errors(400, 401),
    }
    for module in (public_actors, public_connections, public_jobs, public_definitions):
        app.include_router(module.router(state), **protected)
    description.describe(app, ROOT)
    return app


def _credentials(body: bytes, content_type: str) -> dict[str, str]:
    """Read client id and secret from a form or a JSON object.

    Raises:
        Problem: 400 if the body is neither, or lacks a field.
    """
    given: Any
    if content_type.startswith("application/x-www-form-urlencoded"):
        given = {
            key: values[-1] for key, values in parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True).items()
        }
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
