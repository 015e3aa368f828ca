"""Airbyte's problem bodies (RFC 9457): the errors that both APIs answer with."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

logger = logging.getLogger(__name__)

NO_EXTRAS: dict[str, Any] = {"docs_url": None, "redoc_url": None, "openapi_url": None, "redirect_slashes": False}
"""FastAPI's own pages and redirects, which Airbyte has not."""
REFERENCE = "https://reference.airbyte.com/reference/errors"


class Problem(Exception):
    """An error with a defined HTTP answer.

    Args:
        status: HTTP status code.
        title: the problem's short name, as in Airbyte's reference.
        detail: one sentence for a person.
        data: what the problem is about; usually ``{"message": ...}`` or ``{"resourceType", "resourceId"}``.
    """

    def __init__(self, status: int, title: str, detail: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(f"{title}: {detail} {data or ''}")
        self.status = status
        self.title = title
        self.detail = detail
        self.data = data

    def body(self) -> dict[str, Any]:
        """Return the problem as JSON, in the public API's form."""
        anchored = self.title not in ("value-not-found", "unexpected-problem", "not-implemented")
        return {
            "status": self.status,
            "type": f"{REFERENCE}#{self.title}" if anchored else REFERENCE,
            "title": self.title,
            "detail": self.detail,
            "documentationUrl": None,
            "data": self.data,
        }

    @property
    def message(self) -> str:
        """The most specific sentence the problem has."""
        return str((self.data or {}).get("message") or self.detail)


def bad_request(message: str) -> Problem:
    """400: the request itself is wrong; ``message`` names the field."""
    detail = "The request could not be understood by the server due to malformed syntax."
    return Problem(400, "bad-request", detail, {"message": message})


def unknown_value(value: str) -> Problem:
    """400: a connector or format name that nobody knows."""
    return Problem(400, "value-not-found", "The submitted value could not be found.", {"value": value})


def invalid_api_key() -> Problem:
    """401: no token, an expired one, or one of somebody else."""
    return Problem(401, "invalid-api-key", "The API key in the Authorization header is invalid.")


def not_found(resource_type: str, resource_id: str) -> Problem:
    """404: no such resource."""
    data = {"resourceType": resource_type, "resourceId": resource_id}
    return Problem(404, "resource-not-found", "The requested resource could not be found.", data)


def try_again_later(message: str) -> Problem:
    """409: something else of the same kind is under way."""
    return Problem(409, "try-again-later", "Please try again later.", {"message": message})


def state_conflict(message: str) -> Problem:
    """409: the resource is not in a state that allows the request."""
    return Problem(409, "state-conflict", "State conflict", {"message": message})


def unprocessable(message: str) -> Problem:
    """422: well-formed, but not valid for this connector."""
    return Problem(422, "unprocessable-entity", "The body of the request was not understood", {"message": message})


def not_implemented(message: str) -> Problem:
    """501: Airbyte can do it, this server cannot; ``message`` names what is missing."""
    return Problem(501, "not-implemented", "This sandbox server implements a subset of Airbyte.", {"message": message})


def connector_failed(message: str) -> Problem:
    """500: what the real API answers when a connector fails inside a request (discovery)."""
    text = f"Something went wrong in the connector. logs:{message}"
    return Problem(500, "unexpected-problem", "An unexpected problem has occurred.", {"message": text})


def _fields(error: RequestValidationError) -> str:
    """Name every field that is wrong, without repeating its value: it may be a secret."""
    parts = []
    for item in error.errors():
        location = ".".join(str(step) for step in item["loc"] if step not in ("body", "query", "path"))
        parts.append(f"{location or 'body'}: {item['msg']}")
    return "; ".join(parts)


class _Answers:
    """Turns errors into responses, in the form of one of the two APIs."""

    def __init__(self, config_api: bool) -> None:
        self._config_api = config_api

    def problem(self, problem: Problem) -> JSONResponse:
        if not self._config_api:
            return JSONResponse(problem.body(), problem.status)
        body: dict[str, Any] = {"message": problem.message, "errorId": str(uuid.uuid4())}
        if problem.status == 404:
            resource = problem.data or {}
            body["id"] = resource.get("resourceId")
            body["message"] = f"Could not find {resource.get('resourceType')} with id {resource.get('resourceId')}"
        return JSONResponse(body, problem.status)

    def invalid(self, error: RequestValidationError) -> JSONResponse:
        if not self._config_api:
            return self.problem(bad_request(_fields(error)))
        errors = [{"propertyPath": ".".join(str(step) for step in item["loc"])} for item in error.errors()]
        message = f"Some properties contained invalid input: {_fields(error)}"
        return JSONResponse({"message": message, "validationErrors": errors}, 422)

    def unreadable(self, reason: str) -> JSONResponse:
        if not self._config_api:
            return self.problem(bad_request(f"body: {reason}"))
        return JSONResponse({"message": f"Invalid json. {reason}", "validationErrors": []}, 422)


def _methods(app: FastAPI, request: Request) -> str:
    """Return the methods that the path of a request has, as the ``Allow`` header lists them."""
    routes = [route for route in app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in routes for method in getattr(route, "methods", None) or ()}))


def install(app: FastAPI, *, config_api: bool = False) -> None:
    """Make ``app`` answer every error the way Airbyte does.

    Args:
        app: the application.
        config_api: True for the old Config API, whose bodies differ (``message``, ``errorId``) and which answers 422
            where the public API answers 400.
    """
    answers = _Answers(config_api)

    @app.exception_handler(Problem)
    async def on_problem(_: Request, error: Problem) -> JSONResponse:
        return answers.problem(error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return answers.invalid(error)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # a body that is no JSON at all
            return answers.unreadable(str(error.detail))
        # Micronaut's own body: Airbyte's problems exist for its own routes only.
        body = {
            "message": str(error.detail),
            "_links": {"self": {"href": request.url.path, "templated": False}},
            "_embedded": {"errors": [{"message": str(error.detail)}]},
        }
        allowed = {"Allow": _methods(app, request)} if error.status_code == 405 else None
        return JSONResponse(body, error.status_code, allowed)

    @app.exception_handler(Exception)
    async def on_fault(request: Request, error: Exception) -> JSONResponse:
        logger.error("unexpected fault answering %s %s", request.method, request.url.path, exc_info=error)
        detail = "An unexpected problem has occurred."
        return answers.problem(Problem(500, "unexpected-problem", detail, {"message": type(error).__name__}))
