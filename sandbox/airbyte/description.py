"""The public API's OpenAPI description, made from its routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sandbox.airbyte.responses import ProblemBody

PATH = "openapi.json"
"""Below the API's root. A real Airbyte keeps its description in its repository and serves none."""
_MEANINGS = {
    400: "The request is malformed; the message names the field.",
    401: "The access token is missing, expired or not of this server.",
    404: "There is no such resource.",
    409: "The resource is not in a state that allows this, or a sync is running.",
    422: "Well-formed, but not what the connector or the API accepts; the message names the field.",
    500: "A connector failed while the request was answered; the message is the connector's.",
    501: "Airbyte has this, this server has not; the message says what is missing.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route for FastAPI's ``responses``."""
    return {status: {"model": ProblemBody, "description": _MEANINGS[status]} for status in statuses}


def describe(app: FastAPI, root: str) -> None:
    """Make ``app`` serve its description, without an access token, and with the errors it really has.

    Args:
        app: the application, all routes added.
        root: the path the API is below.
    """

    @app.get(f"{root}/{PATH}", include_in_schema=False)
    def openapi() -> dict[str, Any]:
        description = get_openapi(title="Airbyte public API (sandbox)", version="1.0.0", routes=app.routes)
        for operations in description["paths"].values():
            for operation in operations.values():
                # FastAPI announces 422 for every parameter; here a malformed one is a 400.
                answer = operation["responses"].get("422", {})
                if "HTTPValidationError" in str(answer):
                    del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            description["components"]["schemas"].pop(name, None)
        return description
