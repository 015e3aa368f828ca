"""The nightly plan: nine stages, what each needs, and the window each is expected to fill."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from graphlib import CycleError, TopologicalSorter
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_DAILY_CRON = re.compile(r"(\d{1,2}) (\d{1,2}) \* \* \*")
_CRON_FIELD = re.compile(r"[\d*/,\-A-Za-z#?]+")


class Stage(BaseModel):
    """One stage of the plan.

    Args:
        id: Identifier, unique in the plan.
        name: What people read.
        planned_start: Wall-clock start in the plan's time zone, "HH:MM".
        planned_minutes: Length of the planned window, in minutes.
        needs: Identifiers of the stages that have to be done first.
        task_group: Airflow task group that carries out the stage; the identifier when not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    name: str = Field(min_length=1)
    planned_start: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    planned_minutes: int = Field(gt=0, le=1440)
    needs: tuple[str, ...] = ()
    task_group: str = ""

    @model_validator(mode="before")
    @classmethod
    def _group_is_the_id_by_default(cls, data: object) -> object:
        if isinstance(data, dict) and not data.get("task_group"):
            return {**data, "task_group": data.get("id", "")}
        return data

    @property
    def start(self) -> time:
        """Planned wall-clock start."""
        return time.fromisoformat(self.planned_start)

    @property
    def start_minute(self) -> int:
        """Planned start in minutes after midnight."""
        return self.start.hour * 60 + self.start.minute

    @property
    def task_prefix(self) -> str:
        """What the task ids of this stage begin with."""
        return f"{self.task_group}."


class Plan(BaseModel):
    """What the nightly DAG runs, in which order, and when each part is due.

    Args:
        dag_id: The DAG that carries out the plan.
        schedule: Cron expression of the head of the chain.
        timezone: IANA time zone of the schedule and of every planned start.
        stages: The stages, in the order in which they are planned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dag_id: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    schedule: str
    timezone: str
    stages: tuple[Stage, ...] = Field(min_length=1)

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("is not a time zone of the IANA database; allowed are names such as UTC or Europe/Berlin")
        return value

    @field_validator("schedule")
    @classmethod
    def _five_cron_fields(cls, value: str) -> str:
        fields = value.split()
        if len(fields) != 5 or not all(_CRON_FIELD.fullmatch(field) for field in fields):
            raise ValueError('is not a cron expression of five fields, such as "0 1 * * *"')
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        self._check_unique()
        self._check_needs()
        self._check_times()
        return self

    def _check_unique(self) -> None:
        for what in ("id", "task_group"):
            seen: set[str] = set()
            for stage in self.stages:
                value = getattr(stage, what)
                if value in seen:
                    raise ValueError(f"stages: {what} {value!r} is used twice; every stage needs its own")
                seen.add(value)

    def _check_needs(self) -> None:
        known = [stage.id for stage in self.stages]
        for stage in self.stages:
            for need in stage.needs:
                if need not in known:
                    allowed = ", ".join(known)
                    raise ValueError(f"stages: {stage.id} needs {need!r}, which is no stage; allowed: {allowed}")
        try:
            TopologicalSorter({stage.id: stage.needs for stage in self.stages}).prepare()
        except CycleError as error:
            raise ValueError(f"stages: the needs go round in a circle: {' -> '.join(error.args[1])}") from error

    def _check_times(self) -> None:
        by_id = {stage.id: stage for stage in self.stages}
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if after.start_minute < before.start_minute:
                raise ValueError(
                    f"stages: {after.id} is planned at {after.planned_start}, before {before.id} at "
                    f"{before.planned_start}; list the stages in the order of their planned start"
                )
        for stage in self.stages:
            for need in (by_id[name] for name in stage.needs):
                if stage.start_minute < need.start_minute + need.planned_minutes:
                    raise ValueError(
                        f"stages: {stage.id} is planned at {stage.planned_start}, but {need.id}, which it needs, is "
                        f"planned from {need.planned_start} for {need.planned_minutes} minutes"
                    )
        daily = _DAILY_CRON.fullmatch(self.schedule)
        if daily and time(int(daily[2]), int(daily[1])) != self.start_time:
            raise ValueError(
                f"schedule: {self.schedule!r} does not start at {self.stages[0].planned_start}, "
                f"the planned start of {self.stages[0].id}"
            )

    @property
    def start_time(self) -> time:
        """Wall-clock start of the first stage."""
        return self.stages[0].start

    def stage(self, stage_id: str) -> Stage:
        """Return one stage.

        Args:
            stage_id: Its identifier.

        Raises:
            KeyError: When the plan has no such stage; the message lists those it has.
        """
        for stage in self.stages:
            if stage.id == stage_id:
                return stage
        raise KeyError(f"plan {self.dag_id!r} has no stage {stage_id!r}; it has {', '.join(s.id for s in self.stages)}")

    def windows(self, day: date) -> Mapping[str, tuple[datetime, datetime]]:
        """Return the planned window of every stage.

        Args:
            day: The calendar day, in the plan's time zone, on which the run starts.

        Returns:
            Stage id -> (start, end), both aware, in the plan's time zone, in the order of the plan.
        """
        zone = ZoneInfo(self.timezone)
        windows = {}
        for stage in self.stages:
            # Wall-clock arithmetic: in the night a clock changes, 04:00 still means 04:00 to the people who wait.
            start = datetime.combine(day, stage.start)
            end = start + timedelta(minutes=stage.planned_minutes)
            windows[stage.id] = (start.replace(tzinfo=zone), end.replace(tzinfo=zone))
        return windows

    def deadline(self, day: date) -> datetime:
        """Return when everything is due on a day: the end of the last window, aware."""
        return max(end for _, end in self.windows(day).values())
