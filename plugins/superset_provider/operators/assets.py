"""Operators for assets as code: a folder of YAML into Superset, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from superset_provider.assets.apply import apply_assets, plan_assets
from superset_provider.assets.bundle import read_folder
from superset_provider.assets.export import export_assets
from superset_provider.connection import DEFAULT_CONN_ID
from superset_provider.hooks.superset import SupersetHook
from superset_provider.links import SupersetDashboardLink
from superset_provider.plans import summary

if TYPE_CHECKING:
    from airflow.sdk import Context

PLAN_KEY = "plan"


class SupersetImportAssetsOperator(BaseOperator):
    """Make databases, datasets, charts and dashboards as a folder declares them. What is not declared stays.

    The folder is checked and compared with Superset first; only objects that differ are sent, so that the second run
    changes nothing, and the cache of charts whose dataset is the same stays warm. Import, then warm. The password of a
    database comes from the Airflow connection that its URI refers to, at the moment of the import.

    :param folder: Root of the bundle, in the layout of Superset's own export: ``metadata.yaml``, ``databases/``,
        ``datasets/<database>/``, ``charts/``, ``dashboards/``, ``themes/``.
    :param plan_only: Only show the plan.
    :param delete_removed_charts: Whether a chart is deleted that stood on a declared dashboard, and is neither declared
        nor on any other dashboard now. Without it the chart stays in Superset's list of charts, as does anyway what
        another user has created.
    :param resend_passwords: Names of databases whose password has changed: Superset does not show passwords, so that a
        changed one cannot be found by comparing.
    :param superset_conn_id: Airflow connection of type ``superset``, of a user who may export and import assets.
    """

    template_fields: Sequence[str] = ("folder", "resend_passwords", "superset_conn_id")
    ui_color = "#cfe8d5"
    operator_extra_links = (SupersetDashboardLink(),)

    def __init__(
        self,
        *,
        folder: str,
        plan_only: bool = False,
        delete_removed_charts: bool = False,
        resend_passwords: Sequence[str] = (),
        superset_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.plan_only = plan_only
        self.delete_removed_charts = delete_removed_charts
        self.resend_passwords = resend_passwords
        self.superset_conn_id = superset_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Plan, show the plan (log; XCom ``plan``), and carry it out.

        :returns: ``[{"kind", "name", "uuid", "path", "action", "differences"}]``, one for each object; the same when
            only planned.
        :raises SupersetConfigurationError: The folder cannot be imported; says everything that is wrong with it.
        :raises SupersetError: Superset refused the import; nothing of it is done then.
        """
        files = read_folder(self.folder)
        with SupersetHook(self.superset_conn_id) as hook:
            plan = plan_assets(
                hook,
                files,
                delete_removed_charts=self.delete_removed_charts,
                resend_passwords=self.resend_passwords,
            )
            self.log.info("%s%s", "Only planned, nothing is changed: " if self.plan_only else "", summary(plan.steps))
            told = [step.to_dict() for step in plan.steps]
            context["ti"].xcom_push(key=PLAN_KEY, value=told)
            dashboards = [asset for asset in plan.assets.values() if asset.kind == "dashboard"]
            if dashboards:
                page = dashboards[0].body.get("slug") or dashboards[0].uuid
                SupersetDashboardLink.persist(context, f"{hook.address}/superset/dashboard/{page}/")
            if not self.plan_only:
                apply_assets(hook, plan)
        return told


class SupersetExportAssetsOperator(BaseOperator):
    """Write what Superset has back into a folder of files, so that ``git diff`` shows what people changed.

    Ids of the instance, times and defaults are left out and everything is in order: an export right after an import
    changes no file. Passwords are never written.

    :param folder: Root of the bundle; objects that it declares keep their files.
    :param dashboards: Slugs, uuids or titles of dashboards that are wanted with all they need, besides what the folder
        declares. Without any and with an empty folder: everything there is.
    :param superset_conn_id: Airflow connection of type ``superset``, of a user who may export assets.
    """

    template_fields: Sequence[str] = ("folder", "dashboards", "superset_conn_id")
    ui_color = "#cfe8d5"

    def __init__(
        self,
        *,
        folder: str,
        dashboards: Sequence[str] | None = None,
        superset_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.dashboards = dashboards
        self.superset_conn_id = superset_conn_id

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Write the files that differ, and remove those whose object is gone.

        :returns: ``[{"path", "action", "note"}]``, one for each file.
        :raises SupersetConfigurationError: A dashboard is not there, or a file cannot be read.
        """
        with SupersetHook(self.superset_conn_id) as hook:
            written = export_assets(hook, self.folder, self.dashboards)
        for entry in written:
            if entry.action != "same" or entry.note:
                self.log.info("%s", entry)
        return [entry.to_dict() for entry in written]
