"""What the operators that apply a declaration have in common: a plan first, in the log and in XCom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from airflow.sdk import BaseOperator

from dremio_provider.exceptions import DremioConfigurationError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.links import DremioDatasetLink, dataset_page
from dremio_provider.plans import Step, carry_out, summary
from dremio_provider.protocol import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from airflow.sdk import Context

PLAN_KEY = "plan"


class ApplyOperator(BaseOperator, ABC):
    """Compare a declaration with Dremio, show what has to be done, and do it.

    :param dry_run: Only show the plan.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    """

    ui_color = "#cfe8d5"
    operator_extra_links = (DremioDatasetLink(),)
    # Where a subclass keeps its declaration; a file's content arrives there as text.
    declared_field: ClassVar[str]

    def __init__(self, *, dry_run: bool = False, dremio_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dry_run_only = dry_run
        self.dremio_conn_id = dremio_conn_id
        self._lineage: tuple[str, list[Step]] | None = None

    @abstractmethod
    def plan(self, hook: DremioHook) -> list[Step]:
        """What has to be done so that Dremio is as declared. Changes nothing."""

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Plan, show the plan (log; XCom ``plan``), and carry it out.

        :returns: ``[{"kind", "name", "action", "differences"}]``, one for each declared object; the same for a dry run.
        :raises DremioError: Dremio refused a step; those before it have been carried out.
        """
        with DremioHook(self.dremio_conn_id) as hook:
            steps = self.plan(hook)
            self.log.info("%s%s", "Dry run, nothing is changed: " if self.dry_run_only else "", summary(steps))
            told = [step.to_dict() for step in steps]
            context["ti"].xcom_push(key=PLAN_KEY, value=told)
            pages = [step.name for step in steps if step.kind in ("table", "view", "policy")]
            if pages:
                DremioDatasetLink.persist(context, dataset_page(hook.address, pages[0]))
            if not self.dry_run_only:
                carry_out(steps)
                self._lineage = (hook.address, steps)
        return told

    def declared(self) -> Any:
        """The declaration, read if it came from a file.

        :raises DremioConfigurationError: The file is no YAML.
        """
        value = getattr(self, self.declared_field)
        if not isinstance(value, str):
            return value
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise DremioConfigurationError(
                f"The {self.declared_field} of task {self.task_id!r} cannot be read: {error}",
                check="the file that the argument names.",
            ) from error

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """The datasets that were changed; empty for a dry run."""
        from dremio_provider.lineage import operator_lineage

        if self._lineage is None:
            return operator_lineage()
        address, steps = self._lineage
        changed: Sequence[str] = [step.name for step in steps if step.carry_out and step.kind in ("table", "view")]
        return operator_lineage(address, written=changed)
