"""The calls as methods: once for the blocking hook, once for the async one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from superset_provider.exceptions import SupersetError
from superset_provider.hooks import calls
from superset_provider.hooks.calls import Calls

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(plan: Callable[P, Calls[T]]) -> Callable[Concatenate[ObjectMethods, P], T]:
    @wraps(plan)
    def method(self: ObjectMethods, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.perform(plan(*args, **kwargs))

    return method


def _awaited(plan: Callable[P, Calls[T]]) -> Callable[Concatenate[AsyncObjectMethods, P], Awaitable[T]]:
    @wraps(plan)
    async def method(self: AsyncObjectMethods, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.perform(plan(*args, **kwargs))

    return method


class ObjectMethods:
    """Getters, listings, export, import and chart data; needs ``request`` of the hook."""

    @abstractmethod
    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send one request."""

    def perform(self, steps: Calls[T]) -> T:
        """Send the calls one after the other.

        :returns: Their result.
        """
        try:
            call = next(steps)
            while True:
                try:
                    answer = self.request(call.method, call.path, **call.options)
                except SupersetError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    get_dashboard = _blocking(calls.get_dashboard)
    get_dashboard_charts = _blocking(calls.get_dashboard_charts)
    get_dashboard_datasets = _blocking(calls.get_dashboard_datasets)
    get_chart = _blocking(calls.get_chart)
    get_dataset = _blocking(calls.get_dataset)
    get_current_user = _blocking(calls.get_current_user)
    list_dashboards = _blocking(calls.list_dashboards)
    list_charts = _blocking(calls.list_charts)
    list_datasets = _blocking(calls.list_datasets)
    list_databases = _blocking(calls.list_databases)
    export_assets = _blocking(calls.export_assets)
    export_dashboards = _blocking(calls.export_dashboards)
    import_assets = _blocking(calls.import_assets)
    import_dashboards = _blocking(calls.import_dashboards)
    chart_data = _blocking(calls.chart_data)


class AsyncObjectMethods:
    """The same, to be awaited."""

    @abstractmethod
    async def request(self, method: str, path: str, **options: Any) -> Any:
        """Send one request."""

    async def perform(self, steps: Calls[T]) -> T:
        """As :meth:`ObjectMethods.perform`."""
        try:
            call = next(steps)
            while True:
                try:
                    answer = await self.request(call.method, call.path, **call.options)
                except SupersetError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    get_dashboard = _awaited(calls.get_dashboard)
    get_dashboard_charts = _awaited(calls.get_dashboard_charts)
    get_dashboard_datasets = _awaited(calls.get_dashboard_datasets)
    get_chart = _awaited(calls.get_chart)
    get_dataset = _awaited(calls.get_dataset)
    get_current_user = _awaited(calls.get_current_user)
    list_dashboards = _awaited(calls.list_dashboards)
    list_charts = _awaited(calls.list_charts)
    list_datasets = _awaited(calls.list_datasets)
    list_databases = _awaited(calls.list_databases)
    export_assets = _awaited(calls.export_assets)
    export_dashboards = _awaited(calls.export_dashboards)
    import_assets = _awaited(calls.import_assets)
    import_dashboards = _awaited(calls.import_dashboards)
    chart_data = _awaited(calls.chart_data)
