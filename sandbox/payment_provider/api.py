"""The payment provider's HTTP interface."""

from __future__ import annotations

import hmac
import itertools
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from sandbox.payment_provider.store import PaymentsMissingError, PaymentStore, UnknownPaymentError

DEFAULT_LIMIT: Final = 100
LARGEST_LIMIT: Final = 500
RATE_LIMITED_EVERY: Final = 7
FAILING_EVERY: Final = 23
RETRY_AFTER_SECONDS: Final = 1

_TYPES: Final = {
    400: "invalid_request",
    401: "authentication_error",
    404: "not_found",
    405: "method_not_allowed",
    429: "rate_limit_exceeded",
    500: "internal_error",
    503: "unavailable",
}


class ApiError(Exception):
    """An answer that is not a page.

    Args:
        status: HTTP status.
        message: what is wrong and what to do.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def create_app(store: PaymentStore, token: str) -> FastAPI:
    """Build the application.

    Args:
        store: where the payments come from.
        token: the bearer token that callers have to send.
    """
    app = FastAPI(title="Payment provider", docs_url=None, redoc_url=None, openapi_url=None)
    requests = itertools.count(1)

    def authenticated(request: Request) -> None:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent.strip().encode(), token.encode()):
            raise ApiError(
                401,
                "No valid API token. Send it as 'Authorization: Bearer <token>'.",
                {"WWW-Authenticate": "Bearer"},
            )

    def weather() -> None:
        """Real APIs throttle and fail; this one does it by count, so that a test can rely on it."""
        number = next(requests)
        if number % FAILING_EVERY == 0:
            raise ApiError(500, "Something went wrong on our side. Send the request again.")
        if number % RATE_LIMITED_EVERY == 0:
            raise ApiError(
                429,
                f"Too many requests. Send this one again in {RETRY_AFTER_SECONDS} s.",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/payments", dependencies=[Depends(authenticated), Depends(weather)])
    def payments(
        limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT)] = DEFAULT_LIMIT,
        starting_after: str | None = None,
        created_after: datetime | None = None,
    ) -> dict[str, Any]:
        try:
            page, has_more = store.page(limit, starting_after or None, _naive_utc(created_after))
        except UnknownPaymentError:
            raise ApiError(400, f"starting_after: there is no payment {starting_after!r}.") from None
        except PaymentsMissingError:
            raise ApiError(503, "No payments yet: the shop is not loaded.") from None
        data = [_rendered(payment) for payment in page]
        return {
            "data": data,
            "has_more": has_more,
            "next_cursor": data[-1]["payment_id"] if has_more else None,
        }

    _handle_errors(app)
    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    def api_error(_: Request, error: ApiError) -> JSONResponse:
        return _error(error.status, error.message, error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        messages = [f"{detail['loc'][-1]}: {detail['msg']}." for detail in error.errors()]
        return _error(400, " ".join(messages))

    @app.exception_handler(StarletteHTTPException)
    def http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        return _error(error.status_code, f"{error.detail}: {request.method} {request.url.path}.", headers)

    @app.exception_handler(Exception)
    def unexpected(_: Request, __: Exception) -> JSONResponse:
        return _error(500, "Something went wrong on our side. Send the request again.")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {"error": {"type": _TYPES.get(status, "error"), "message": message}}
    return JSONResponse(body, status_code=status, headers=headers)


def _naive_utc(moment: datetime | None) -> datetime | None:
    """The store keeps UTC without zone; a moment that came without one is taken for UTC."""
    if moment is None or moment.tzinfo is None:
        return moment
    return moment.astimezone(UTC).replace(tzinfo=None)


def _rendered(payment: dict[str, Any]) -> dict[str, Any]:
    # Amounts travel as text: a JSON number would turn cents into binary fractions.
    return {
        "payment_id": payment["payment_id"],
        "order_id": payment["order_id"],
        "amount": f"{payment['amount']:.2f}",
        "currency": payment["currency"],
        "method": payment["method"],
        "status": payment["status"],
        "created_at": payment["created_at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
