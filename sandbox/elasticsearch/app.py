"""The ASGI application: routes, the lock, and the refresh interval."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from sandbox.elasticsearch import elsewhere
from sandbox.elasticsearch import routes_document as documents
from sandbox.elasticsearch import routes_index as indices
from sandbox.elasticsearch.errors import ElasticsearchError, PlainError, missing
from sandbox.elasticsearch.node import Node
from sandbox.elasticsearch.protocol import MAXIMUM_BODY, PRODUCT, Reply, Request, check_headers, encode

REFRESH_SECONDS = 1.0
"""Elasticsearch's default of ``index.refresh_interval``."""

Handler = Callable[[Node, Request], Reply]

logger = logging.getLogger(__name__)

_READ, _WRITE = ("GET", "HEAD"), ("PUT", "POST")
_ROUTES: tuple[tuple[str, tuple[str, ...], Handler], ...] = (
    ("/", _READ, indices.root),
    ("/_cluster/health", ("GET",), indices.health),
    ("/_cluster/health/{index}", ("GET",), indices.health),
    ("/_cat/indices", ("GET",), indices.cat_indices),
    ("/_cat/indices/{index}", ("GET",), indices.cat_indices),
    ("/_index_template", ("GET",), indices.get_template),
    ("/_index_template/{name}", _READ, indices.get_template),
    ("/_index_template/{name}", _WRITE, indices.put_template),
    ("/_index_template/{name}", ("DELETE",), indices.delete_template),
    ("/_aliases", ("POST",), indices.update_aliases),
    ("/_alias", ("GET",), indices.get_alias),
    ("/_alias/{name}", _READ, indices.get_alias),
    ("/_bulk", _WRITE, documents.bulk),
    ("/_search", ("GET", "POST"), documents.run_search),
    ("/_msearch", ("GET", "POST"), documents.multi_search),
    ("/_count", ("GET", "POST"), documents.count),
    ("/_refresh", ("GET", "POST"), indices.refresh),
    ("/_mapping", ("GET",), indices.get_mapping),
    ("/_settings", ("GET",), indices.get_settings),
    ("/_settings", ("PUT",), indices.put_settings),
    ("/{index}/_mapping", ("GET",), indices.get_mapping),
    ("/{index}/_mapping", _WRITE, indices.put_mapping),
    ("/{index}/_settings", ("GET",), indices.get_settings),
    ("/{index}/_settings", ("PUT",), indices.put_settings),
    ("/{index}/_alias", _READ, indices.get_alias),
    ("/{index}/_alias/{name}", _READ, indices.get_alias),
    ("/{index}/_alias/{name}", _WRITE, indices.put_alias),
    ("/{index}/_alias/{name}", ("DELETE",), indices.delete_alias),
    ("/{index}/_refresh", ("GET", "POST"), indices.refresh),
    ("/{index}/_bulk", _WRITE, documents.bulk),
    ("/{index}/_search", ("GET", "POST"), documents.run_search),
    ("/{index}/_msearch", ("GET", "POST"), documents.multi_search),
    ("/{index}/_count", ("GET", "POST"), documents.count),
    ("/{index}/_delete_by_query", ("POST",), documents.delete_by_query),
    ("/{index}/_doc", ("POST",), documents.put_document),
    ("/{index}/_doc/{id}", _WRITE, documents.put_document),
    ("/{index}/_doc/{id}", _READ, documents.get_document),
    ("/{index}/_doc/{id}", ("DELETE",), documents.delete_document),
    ("/{index}/_create/{id}", _WRITE, documents.put_document),
    ("/{index}/_update/{id}", ("POST",), documents.update_document),
    ("/{index}", ("PUT",), indices.create_index),
    ("/{index}", _READ, indices.get_index),
    ("/{index}", ("DELETE",), indices.delete_index),
)


class Server:
    """Serves one node.

    Args:
        directory: where its data lives.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._node: Node | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Open the node, refresh it every second, and close it at the end."""
        self._node = await run_in_threadpool(Node, self._directory)
        ticker = asyncio.create_task(self._tick(self._node))
        try:
            yield
        finally:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker
            await run_in_threadpool(self._node.close)

    async def _tick(self, node: Node) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await run_in_threadpool(node.tick)
            except (OSError, ValueError) as error:
                # A full disk must not end refreshing: the next tick tries again, the documents are safe in the store.
                logger.error("refresh failed, trying again in %s s: %s", REFRESH_SECONDS, error)

    def endpoint(self, handler: Handler) -> Callable[[HttpRequest], object]:
        """Return the ASGI endpoint of one handler."""

        async def answer(http: HttpRequest) -> Response:
            return await self._answer(http, handler)

        return answer

    async def _answer(self, http: HttpRequest, handler: Handler) -> Response:
        versioned, parameters = False, dict(http.query_params)
        try:
            body = await _body(http)
            versioned = check_headers(http.headers.get("accept"), http.headers.get("content-type"), bool(body))
            if _is_elsewhere(http.url.path, 405):
                raise missing(f"the endpoint [{http.method} {http.url.path}]")
            request = Request(http.method, http.url.path, dict(http.path_params), parameters, body)
            reply = await run_in_threadpool(self._run, handler, request)
        except ElasticsearchError as error:
            reply = Reply(error.body(), error.status)
        content, media_type = encode(reply, versioned, parameters.get("pretty", "false") != "false")
        headers = {**PRODUCT, "content-type": media_type}
        if http.method == "HEAD":
            content = b""
        return Response(content, reply.status, headers)

    def _run(self, handler: Handler, request: Request) -> Reply:
        node = self._node
        assert node is not None
        with node.lock:
            node.after_commit = False
            try:
                with node.store.transaction():
                    reply = handler(node, request)
            except BaseException:
                # What the transaction had changed in memory goes with it.
                node.reload()
                raise
            if node.after_commit:
                node.refresh()
            return reply

    async def unknown(self, http: HttpRequest, error: Exception) -> Response:
        """Answer a path or a method without a route, and a request that failed for a fault of this server."""
        status = getattr(error, "status_code", 500)
        failure: ElasticsearchError
        if status == 500:
            # The traceback goes to the log; the client learns that the fault is here.
            reason = f"{type(error).__name__} while answering [{http.method} {http.url.path}]; see the server's log"
            failure = ElasticsearchError(500, "exception", reason)
        elif _is_elsewhere(http.url.path, status):
            failure = missing(f"the endpoint [{http.method} {http.url.path}]")
        elif status == 405:
            allowed = ", ".join(sorted(_methods(http.url.path)))
            failure = PlainError(
                405,
                "",
                f"Incorrect HTTP method for uri [{_uri(http)}] and method [{http.method}], allowed: [{allowed}]",
            )
        else:
            failure = PlainError(400, "", f"no handler found for uri [{_uri(http)}] and method [{http.method}]")
        content, media_type = encode(Reply(failure.body()), False, False)
        return Response(content, failure.status, {**PRODUCT, "content-type": media_type})


_SERVED = frozenset(part for path, _, _ in _ROUTES for part in path.split("/"))


def _is_elsewhere(path: str, status: int) -> bool:
    """Return whether ``path`` is an endpoint of Elasticsearch that is not served here at all."""
    named = elsewhere.ENDPOINTS.intersection(path.split("/"))
    return bool(named if status == 404 else named - _SERVED)


def _uri(http: HttpRequest) -> str:
    return http.url.path + (f"?{http.url.query}" if http.url.query else "")


def _methods(path: str) -> set[str]:
    return {
        method
        for pattern, methods, _ in _ROUTES
        if Route(pattern, lambda: None).path_regex.match(path)
        for method in methods
    }


async def _body(http: HttpRequest) -> bytes:
    chunks, size = [], 0
    async for chunk in http.stream():
        size += len(chunk)
        if size > MAXIMUM_BODY:
            raise ElasticsearchError(
                413, "content_too_long_exception", f"entity content is too long for [{MAXIMUM_BODY}] bytes"
            )
        chunks.append(chunk)
    return b"".join(chunks)


def create_app(directory: Path) -> Starlette:
    """Return the application over the data in ``directory``."""
    server = Server(directory)
    routes = [Route(path, server.endpoint(handler), methods=list(methods)) for path, methods, handler in _ROUTES]
    errors = {404: server.unknown, 405: server.unknown, 500: server.unknown}
    return Starlette(routes=routes, lifespan=server.lifespan, exception_handlers=errors)
