"""Sensor that waits for what a query answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from dremio_provider.exceptions import DremioTerminalError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.parameters import Parameters, bind
from dremio_provider.protocol import shorten
from dremio_provider.sensors.base import DremioSensor
from dremio_provider.triggers.jobs import DremioQueryResultTrigger, is_met

if TYPE_CHECKING:
    from airflow.sdk import Context


class DremioQueryResultSensor(DremioSensor):
    """Wait until the first cell of a query's answer is neither missing, false, zero nor empty.

    Unlike the stock ``SqlSensor`` it can wait in the triggerer.

    :param sql: The query, or the name of a ``.sql`` file.
    :param parameters: Values for ``%s`` or ``%(name)s``.
    :param sql_context: Path that unqualified names are looked up in.
    :param fail_on_empty: Fail when the query returns no rows, instead of asking again.
    :param query_timeout: Seconds one query may take; afterwards it is cancelled, which counts as a failed look.
    """

    template_fields: Sequence[str] = ("sql", "parameters", "sql_context", *DremioSensor.template_fields)
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json"}

    def __init__(
        self,
        *,
        sql: str,
        parameters: Parameters | None = None,
        sql_context: Sequence[str] | None = None,
        fail_on_empty: bool = False,
        query_timeout: float = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.parameters = parameters
        self.sql_context = sql_context
        self.fail_on_empty = fail_on_empty
        self.query_timeout = query_timeout

    def poke(self, context: Context) -> bool:
        """Ask once.

        :raises DremioError: The query failed, or returned nothing although that was to fail.
        """
        with DremioHook(self.dremio_conn_id) as hook:
            rows = hook.execute_sql(
                self.sql,
                parameters=self.parameters,
                context=self.sql_context,
                timeout=self.query_timeout,
                max_rows=1,
            ).rows
        if not rows and self.fail_on_empty:
            raise self._empty()
        return is_met(rows)

    def trigger(self, deadline: float, **polling: Any) -> DremioQueryResultTrigger:
        """As in the base."""
        return DremioQueryResultTrigger(
            self.dremio_conn_id,
            bind(self.sql, self.parameters),
            deadline,
            sql_context=self.sql_context,
            fail_on_empty=self.fail_on_empty,
            query_timeout=self.query_timeout,
            **polling,
        )

    def conclude(self, event: dict[str, Any]) -> None:
        """As in the base."""
        if event["status"] == "empty":
            raise self._empty()

    def _empty(self) -> DremioTerminalError:
        return DremioTerminalError(
            "The query returned no rows.", asked=shorten(self.sql), check="the query, or fail_on_empty."
        )
