"""What a warm-up is asked to do: the operator writes it down, a worker or a triggerer carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class PageAddress:
    """A dashboard as it is opened.

    :param dashboard_id: Its id.
    :param permalink: Key of the permalink whose state it is opened with; None for the plain address.
    """

    dashboard_id: int
    permalink: str | None = None


@dataclass(frozen=True)
class WarmRequest:
    """Everything a warm-up needs to know; JSON-serialisable, without secrets.

    :param superset_conn_id: Airflow connection that sees the dashboards.
    :param pages: What is opened.
    :param deadline: Unix time of Airflow's clock after which nothing is asked any more.
    :param as_users: Airflow connections of further users.
    :param roles: For each further service user the Superset roles it has.
    :param service_user: What the names of service users start with.
    :param concurrency: Cold queries at the same time.
    :param query_timeout: Seconds one query may take.
    :param verify: Whether hits are proven.
    :param only_stale: Whether entries of earlier runs count where the data has not changed since.
    :param changed_since: When the data changed last, in ISO format; for ``only_stale``.
    :param fresh_for: Seconds an entry has to last beyond the end of the warm-up.
    :param since: ISO time of Superset's clock: entries from then on were made by an earlier try and count.
    :param option_row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT.
    :param durations: Milliseconds of cold queries in the previous run.
    """

    superset_conn_id: str
    pages: tuple[PageAddress, ...]
    deadline: float
    as_users: tuple[str, ...] = ()
    roles: tuple[tuple[str, ...], ...] = ()
    service_user: str = "airflow_warm_up"
    concurrency: int = 4
    query_timeout: float = 300.0
    verify: bool = True
    only_stale: bool = False
    changed_since: str | None = None
    fresh_for: float = 0.0
    since: str | None = None
    option_row_limit: int = 1000
    durations: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For a trigger's arguments."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """What :meth:`to_dict` wrote, possibly through JSON."""
        return cls(
            **{
                **raw,
                "pages": tuple(PageAddress(**page) for page in raw["pages"]),
                "as_users": tuple(raw["as_users"]),
                "roles": tuple(tuple(names) for names in raw["roles"]),
            }
        )
