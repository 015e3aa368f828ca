"""Operators for the catalog: sources, spaces, folders, tables, views; metadata, refresh policies and grants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from dremio_provider.catalog_sets import plan_catalog
from dremio_provider.exceptions import DremioConfigurationError, DremioJobFailedError, DremioTransientError
from dremio_provider.grants import plan_grants
from dremio_provider.hooks.catalog import METADATA_OPTIONS, refresh_metadata_sql
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.links import DremioDatasetLink, DremioJobLink, dataset_page
from dremio_provider.operators.apply import ApplyOperator
from dremio_provider.paths import display_path
from dremio_provider.policies import plan_refresh_policy, refresh_policy
from dremio_provider.protocol import DEFAULT_CONN_ID, job_page
from dremio_provider.sources import source_error, source_trouble

if TYPE_CHECKING:
    from airflow.sdk import Context

    from dremio_provider.plans import Step


class DremioApplyCatalogOperator(ApplyOperator):
    """Make sources, spaces, folders, promoted tables and views as declared, in this order; what is not declared stays.

    Only real differences are changed, so the second run changes nothing. A secret is taken from an Airflow connection
    when it is sent, and is never shown, templated or compared in clear.

    :param catalog: ``{"sources": [..], "spaces": [..], "folders": [..], "tables": [..], "views": [..]}``, as for
        :func:`dremio_provider.catalog_sets.plan_catalog`; or the name of a ``.yml`` or ``.json`` file that holds it.
    :param resend_secrets: Names of sources whose secrets have changed: Dremio does not show secrets, so that a changed
        one cannot be found by comparing.
    :param dry_run: Only show the plan.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    """

    template_fields: Sequence[str] = ("catalog", "resend_secrets", "dremio_conn_id")
    template_ext: Sequence[str] = (".yml", ".yaml", ".json")
    template_fields_renderers: ClassVar[dict[str, str]] = {"catalog": "json"}
    declared_field = "catalog"

    def __init__(
        self, *, catalog: Mapping[str, Sequence[Any]] | str, resend_secrets: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.catalog = catalog
        self.resend_secrets = resend_secrets

    def plan(self, hook: DremioHook) -> list[Step]:
        """What has to be done."""
        return plan_catalog(hook, self.declared() or {}, resend_sources=self.resend_secrets)


class DremioSetRefreshPolicyOperator(ApplyOperator):
    """Say when Dremio refreshes the reflections of tables by itself, and for how long they serve. What is not given
    stays as it is.

    :param datasets: Paths of tables (the reflections of a view follow the tables it reads).
    :param period: Time between two refreshes (seconds, or a timedelta).
    :param schedule: Quartz expression in UTC, for example ``0 0 8 * * ?``.
    :param never: Only when asked for: what a pipeline wants that refreshes when its data is there.
    :param on_data_changes: When the table's Iceberg snapshot changes (Enterprise edition).
    :param grace_period: Time after a refresh during which the reflections serve (seconds, or a timedelta).
    :param never_expire: Whether they serve for ever.
    :param method: AUTO, FULL or INCREMENTAL.
    :param refresh_field: Column that grows with every new row, for INCREMENTAL.
    :param dry_run: Only show the plan.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    """

    template_fields: Sequence[str] = ("datasets", "schedule", "refresh_field", "dremio_conn_id")

    def __init__(
        self,
        *,
        datasets: Sequence[str],
        period: timedelta | float | None = None,
        schedule: str | None = None,
        never: bool = False,
        on_data_changes: bool = False,
        grace_period: timedelta | float | None = None,
        never_expire: bool | None = None,
        method: str | None = None,
        refresh_field: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datasets = datasets
        self.period = period
        self.schedule = schedule
        self.never = never
        self.on_data_changes = on_data_changes
        self.grace_period = grace_period
        self.never_expire = never_expire
        self.method = method
        self.refresh_field = refresh_field

    def plan(self, hook: DremioHook) -> list[Step]:
        """What has to be done."""
        policy = refresh_policy(
            period=self.period,
            schedule=self.schedule,
            never=self.never,
            on_data_changes=self.on_data_changes,
            grace_period=self.grace_period,
            never_expire=self.never_expire,
            method=self.method,
            refresh_field=self.refresh_field,
        )
        return plan_refresh_policy(hook, self.datasets, policy)


class DremioApplyGrantsOperator(ApplyOperator):
    """Make the privileges on objects as declared (Enterprise edition).

    :param grants: ``{path: [{"role" or "user": name, "privileges": ["SELECT", ..]}, ..]}``; or the name of a ``.yml``
        or ``.json`` file that holds it.
    :param revoke_undeclared: Whether privileges on these objects that are not declared are taken away.
    :param skip_on_community: Whether the task is skipped on the community edition, which has no grants, instead of
        failing.
    :param dry_run: Only show the plan.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    """

    template_fields: Sequence[str] = ("grants", "dremio_conn_id")
    template_ext: Sequence[str] = (".yml", ".yaml", ".json")
    template_fields_renderers: ClassVar[dict[str, str]] = {"grants": "json"}
    declared_field = "grants"

    def __init__(
        self,
        *,
        grants: Mapping[str, Sequence[Mapping[str, Any]]] | str,
        revoke_undeclared: bool = False,
        skip_on_community: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.grants = grants
        self.revoke_undeclared = revoke_undeclared
        self.skip_on_community = skip_on_community

    def plan(self, hook: DremioHook) -> list[Step]:
        """What has to be done.

        :raises AirflowSkipException: The community edition, where that was wanted.
        """
        if self.skip_on_community and hook.edition == "community":
            raise AirflowSkipException("Dremio's community edition has no grants.")
        return plan_grants(hook, self.declared() or {}, revoke_undeclared=self.revoke_undeclared)


class DremioRefreshMetadataOperator(BaseOperator):
    """Make Dremio see the new and vanished files of a table: until then new Parquet is invisible to it.

    :param table: Path of the table; a folder of a source becomes a table by this, where ``options`` say so.
    :param partitions: Only these, each as ``{"dir0": "date=2026-11-01"}``; without any the whole table.
    :param options: The end of Dremio's statement: ``AUTO PROMOTION`` or ``AVOID PROMOTION``, ``FORCE UPDATE`` or ``LAZY
        UPDATE``, ``DELETE WHEN MISSING`` or ``MAINTAIN WHEN MISSING``.
    :param timeout: Seconds each statement may take; afterwards its job is cancelled.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    """

    template_fields: Sequence[str] = ("table", "partitions", "options", "dremio_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"partitions": "json"}
    ui_color = "#f5e6c4"
    operator_extra_links = (DremioJobLink(), DremioDatasetLink())

    def __init__(
        self,
        *,
        table: str | Sequence[str],
        partitions: Sequence[Mapping[str, Any]] = (),
        options: str = METADATA_OPTIONS,
        timeout: float = 600.0,
        dremio_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.partitions = partitions
        self.options = options
        self.timeout = timeout
        self.dremio_conn_id = dremio_conn_id
        self._running: tuple[DremioHook, str] | None = None
        self._lineage: tuple[str, str] | None = None

    def execute(self, context: Context) -> list[str]:
        """Run the statements, one for each partition.

        :returns: Ids of the finished jobs.
        :raises DremioTransientError: The table's source cannot be reached.
        :raises DremioJobFailedError: Dremio refused for another reason.
        """
        if not all(self.partitions):
            raise DremioConfigurationError(
                f"Task {self.task_id!r} names a partition without columns.", check="the argument partitions."
            )
        path = display_path(self.table)
        with DremioHook(self.dremio_conn_id) as hook:
            DremioDatasetLink.persist(context, dataset_page(hook.address, path))
            jobs = [
                self._run(hook, path, sql, context) for sql in refresh_metadata_sql(path, self.partitions, self.options)
            ]
            self._lineage = (hook.address, path)
        return jobs

    def _run(self, hook: DremioHook, path: str, sql: str, context: Context) -> str:
        job_id = hook.submit_sql(sql)
        self._running = (hook, job_id)
        DremioJobLink.persist(context, job_page(hook.settings, job_id))
        try:
            hook.wait_for_job(job_id, timeout=self.timeout, sql=sql)
        except DremioJobFailedError as error:
            name, said = source_trouble(hook, path)
            explained = source_error(name, error, said)
            if isinstance(explained, DremioTransientError):
                raise explained from error
            raise
        finally:
            self._running = None
        return job_id

    def on_kill(self) -> None:
        """Cancel the running job."""
        if self._running is not None:
            (hook, job_id), self._running = self._running, None
            with hook.clone() as other:
                other.cancel_job(job_id)

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """The table whose metadata was read; empty when nothing ran."""
        from dremio_provider.lineage import operator_lineage

        if self._lineage is None:
            return operator_lineage()
        address, path = self._lineage
        return operator_lineage(address, written=[path])
