"""Operator that runs SQL on Dremio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from dremio_provider.exceptions import DremioConfigurationError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.links import DremioJobLink
from dremio_provider.protocol import DEFAULT_CONN_ID, job_page

if TYPE_CHECKING:
    from airflow.sdk import Context


class DremioSqlOperator(BaseOperator):
    """Run statements one after the other, each to its end. The first failure ends the task.

    :param sql: One statement, a list of them, or the name of a ``.sql`` file that holds one statement.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    :param sql_context: Path that unqualified names are looked up in.
    :param timeout: Seconds each statement may take; afterwards its job is cancelled.
    """

    template_fields: Sequence[str] = ("sql", "sql_context", "dremio_conn_id")
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}
    ui_color = "#d8f0f2"
    operator_extra_links = (DremioJobLink(),)

    def __init__(
        self,
        *,
        sql: str | list[str],
        dremio_conn_id: str = DEFAULT_CONN_ID,
        sql_context: list[str] | None = None,
        timeout: float = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.dremio_conn_id = dremio_conn_id
        self.sql_context = sql_context
        self.timeout = timeout
        self._running: tuple[DremioHook, str] | None = None

    def execute(self, context: Context) -> list[str]:
        """Run the statements.

        :returns: Ids of the finished jobs, in order.
        :raises DremioError: A statement failed; later ones were not sent.
        """
        statements = [self.sql] if isinstance(self.sql, str) else list(self.sql)
        if not statements or not all(statement.strip() for statement in statements):
            raise DremioConfigurationError("DremioSqlOperator got an empty statement.", check="the argument sql.")
        jobs: list[str] = []
        with DremioHook(self.dremio_conn_id) as hook:
            for statement in statements:
                job_id = hook.submit_sql(statement, context=self.sql_context)
                self._running = (hook, job_id)
                DremioJobLink.persist(context, job_page(hook.settings, job_id))
                hook.wait_for_job(job_id, timeout=self.timeout, sql=statement)
                self._running = None
                jobs.append(job_id)
        return jobs

    def on_kill(self) -> None:
        """Cancel the running job."""
        if self._running is not None:
            hook, job_id = self._running
            self._running = None
            self.log.info("Cancelling the Dremio job %s", job_id)
            # A signal may have come in the middle of a request: its connections must not be used here.
            with hook.clone() as other:
                other.cancel_job(job_id)
