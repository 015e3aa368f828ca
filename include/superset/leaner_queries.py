"""What Superset does anew for every query of a chart although nothing has changed, done once.

A cold query asks for the engine of its database four times, each of which is made from nothing, and the one that it
runs on asks the database for its version and its settings. Every query, cached or not, reads its dataset twice more,
once for its parts and once with its chart, then the dataset's database, and makes five schemas to read its question
with.
"""

from __future__ import annotations

import json
from functools import lru_cache
from threading import Lock
from typing import Any

from cachetools import TTLCache
from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.orm import joinedload, lazyload
from sqlalchemy.pool import NullPool

ENGINE_SECONDS = 3600.0
"""So long an engine may remember what its database has said about itself."""
_MOST_ENGINES = 100


class KeptEngines:
    """SQLAlchemy's ``create_engine``, which gives an engine for the same address and options again.

    Only one that keeps no connections, as Superset's are: every query connects anew, as whom and how its database is
    configured at that moment. An option that is an object makes an engine of its own.
    """

    def __init__(self) -> None:
        self._kept: TTLCache[str, Engine] = TTLCache(_MOST_ENGINES, ENGINE_SECONDS)
        self._lock = Lock()

    def __call__(self, url: Any, **options: Any) -> Engine:
        """Return the engine.

        Args:
            url: Address of the database, with the password.
            options: Those of ``create_engine``.
        """
        key = _key(url, options)
        if key is None:
            return create_engine(url, **options)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = create_engine(url, **options)
            return self._kept[key]


def _key(url: Any, options: dict[str, Any]) -> str | None:
    """What engines that are the same have in common; None for one that must not be kept."""
    others = {name: value for name, value in options.items() if name != "poolclass"}
    if options.get("poolclass") is not NullPool:
        return None
    try:
        return json.dumps([make_url(url).render_as_string(hide_password=False), others], sort_keys=True)
    except TypeError:
        return None


def make_queries_leaner(_: Flask) -> None:
    """Put it into Superset: a ``FLASK_APP_MUTATOR``, since Superset's models exist within an application only."""
    from superset import db
    from superset.charts.data import api
    from superset.common.query_context_factory import QueryContextFactory
    from superset.connectors.sqla.models import SqlaTable
    from superset.daos.chart import ChartDAO
    from superset.daos.datasource import DatasourceDAO
    from superset.models import core
    from superset.models.slice import Slice
    from superset.utils.core import DatasourceType

    get_datasource = DatasourceDAO.get_datasource

    def datasource_of_session(_: type[DatasourceDAO], datasource_type: Any, database_id_or_uuid: Any) -> Any:
        found = None
        if datasource_type == DatasourceType.TABLE and str(database_id_or_uuid).isdigit():
            # One that this request has read already is not read again.
            options = (joinedload(SqlaTable.database),)
            found = db.session.get(SqlaTable, int(database_id_or_uuid), options=options)
        return found or get_datasource(datasource_type, database_id_or_uuid)

    def chart_without_dataset(_: QueryContextFactory, chart_id: Any) -> Slice | None:
        # The query has a dataset already; this one is read when somebody asks the chart for it.
        return ChartDAO.find_by_id(chart_id, query_options=[lazyload(Slice.table)])

    core.create_engine = KeptEngines()
    core.make_url_safe = lru_cache(_MOST_ENGINES)(core.make_url_safe)
    DatasourceDAO.get_datasource = classmethod(datasource_of_session)
    QueryContextFactory._get_slice = chart_without_dataset
    # A schema keeps nothing of what it reads, and the schemas within it are its own.
    api.ChartDataQueryContextSchema = lru_cache(1)(api.ChartDataQueryContextSchema)
