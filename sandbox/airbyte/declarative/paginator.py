"""Pages of a low-code source: what to add to the first request, and to the next one."""

from __future__ import annotations

from typing import Any

import httpx

from sandbox.airbyte.declarative.interpolation import render, render_text, truth


class Paginator:
    """Walks the pages of one stream.

    Args:
        component: the paginator of the manifest, or None.
        config: the source's configuration.
    """

    def __init__(self, component: dict[str, Any] | None, config: dict[str, Any]) -> None:
        self._component = component if component and component["type"] == "DefaultPaginator" else None
        self._strategy: dict[str, Any] = self._component["pagination_strategy"] if self._component else {}
        self._context = {"config": config, "parameters": (component or {}).get("parameters", {})}
        size = self._strategy.get("page_size")
        self.page_size: int | None = None if size is None else int(render(size, self._context))
        start = int(render(self._strategy.get("start_from_page", 0), self._context))
        first = self._strategy.get("inject_on_first_request", False)
        self._position = start if self._strategy.get("type") == "PageIncrement" else 0
        self.token: Any = self._position if first else None

    def options(self) -> tuple[dict[str, dict[str, Any]], str | None]:
        """Return what to add to the next request, by place, and the next address if pages are addresses."""
        options: dict[str, dict[str, Any]] = {}
        path = None
        component = self._component or {}
        size_option, token_option = component.get("page_size_option"), component.get("page_token_option")
        if size_option and self.page_size is not None:
            self._inject(options, size_option, self.page_size)
        if token_option and self.token is not None:
            if token_option["type"] == "RequestPath":
                path = str(self.token)
            else:
                self._inject(options, token_option, self.token)
        return options, path

    def advance(self, response: httpx.Response, body: Any, records: list[dict[str, Any]]) -> bool:
        """Move to the page after this one; returns False if this was the last."""
        kind = self._strategy.get("type")
        if kind == "CursorPagination":
            return self._follow_cursor(response, body, records)
        if kind in ("OffsetIncrement", "PageIncrement"):
            if not records or (self.page_size is not None and len(records) < self.page_size):
                return False
            self._position += 1 if kind == "PageIncrement" else len(records)
            self.token = self._position
            return True
        return False

    def _follow_cursor(self, response: httpx.Response, body: Any, records: list[dict[str, Any]]) -> bool:
        context = {
            **self._context,
            "response": body if isinstance(body, dict) else {},
            "headers": dict(response.headers),
            "last_record": records[-1] if records else {},
            "last_page_size": len(records),
        }
        stop = self._strategy.get("stop_condition")
        if stop is not None and truth(stop, context):
            return False
        if not records and "last_record" in str(self._strategy["cursor_value"]):
            return False
        token = render_text(self._strategy["cursor_value"], context)
        if token in ("", "None"):
            return False
        self.token = token
        return True

    def _inject(self, options: dict[str, dict[str, Any]], option: dict[str, Any], value: Any) -> None:
        name = render_text(option.get("field_name", ""), self._context)
        options.setdefault(option["inject_into"], {})[name] = value
