"""Sensor that waits for a job that somebody else started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.links import DremioJobLink
from dremio_provider.protocol import FINAL_JOB_STATES, error_from_job, job_page
from dremio_provider.sensors.base import DremioSensor
from dremio_provider.triggers.jobs import DremioJobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class DremioJobSensor(DremioSensor):
    """Wait until a job is COMPLETED. The job is not this task's: killing the task or a timeout leaves it running.

    :param job_id: The job.
    :param poke_interval: Seconds between two looks.
    """

    template_fields: Sequence[str] = ("job_id", *DremioSensor.template_fields)
    operator_extra_links = (DremioJobLink(),)

    def __init__(self, *, job_id: str, poke_interval: float = 5.0, **kwargs: Any) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.job_id = job_id

    def poke(self, context: Context) -> bool:
        """Look once.

        :raises DremioJobFailedError: The job ended as FAILED or CANCELED.
        :raises DremioNotFoundError: There is no such job.
        """
        with DremioHook(self.dremio_conn_id) as hook:
            DremioJobLink.persist(context, job_page(hook.settings, self.job_id))
            job = hook.get_job(self.job_id)
        return self._is_completed(job)

    def trigger(self, deadline: float, **polling: Any) -> DremioJobTrigger:
        """As in the base."""
        return DremioJobTrigger(self.dremio_conn_id, self.job_id, deadline, **polling)

    def conclude(self, event: dict[str, Any]) -> None:
        """As in the base."""
        self._is_completed(event["job"])

    def _is_completed(self, job: Mapping[str, Any]) -> bool:
        state = job.get("jobState")
        if state in FINAL_JOB_STATES and state != "COMPLETED":
            raise error_from_job(self.job_id, job, DremioHook(self.dremio_conn_id).settings, None)
        return state == "COMPLETED"
