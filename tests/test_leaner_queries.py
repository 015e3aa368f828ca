"""What Superset no longer does anew for every query, in an application of Superset's own environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = REPOSITORY / ".venv/superset/bin/python"
CONFIGURATION = """
import os, sys
sys.path.append("include/superset")
from leaner_queries import make_queries_leaner
FLASK_APP_MUTATOR = make_queries_leaner
SECRET_KEY = "only-for-this-process"
SQLALCHEMY_DATABASE_URI = f"sqlite:///{os.environ['SUPERSET_HOME']}/metadata.db"
PREVENT_UNSAFE_DB_CONNECTIONS = False
"""
PROGRAM = """
from cachetools import TTLCache
from flask_appbuilder import Model
from sqlalchemy import event
from sqlalchemy.pool import NullPool, QueuePool
from superset.app import create_app

app = create_app()
with app.app_context():
    from leaner_queries import ENGINE_SECONDS, KeptEngines
    from superset import db
    from superset.charts.data import api
    from superset.common.query_context_factory import QueryContextFactory
    from superset.connectors.sqla.models import SqlaTable
    from superset.daos.chart import ChartDAO
    from superset.daos.datasource import DatasourceDAO
    from superset.daos.exceptions import (
        DatasourceNotFound, DatasourceTypeNotSupportedError, DatasourceValueIsIncorrect
    )
    from superset.models import core
    from superset.models.slice import Slice
    from superset.utils.core import DatasourceType

    # The same engine again, for the same address and options only.
    now = [0.0]
    make = KeptEngines()
    make._kept = TTLCache(100, ENGINE_SECONDS, timer=lambda: now[0])
    address = "postgresql://reader:one@127.0.0.1/sales"
    options = {"poolclass": NullPool, "connect_args": {"options": "-c search_path=gold"}}
    first = make(address, **options)
    assert make(address, **options) is first and first.url.password == "one"
    others = [
        make(address.replace("one", "two"), **options),
        make(address, **{**options, "connect_args": {"options": "-c search_path=silver"}}),
        make(address, **{**options, "poolclass": QueuePool}),
        make(address, **{**options, "poolclass": QueuePool}),
        make(address, **options, creator=lambda: None),
        make(address, **options, creator=lambda: None),
    ]
    assert len({id(engine) for engine in (first, *others)}) == 7
    assert others[0].url.password == "two" and isinstance(others[2].pool, QueuePool)
    now[0] += ENGINE_SECONDS
    assert make(address, **options) is not first

    # Superset's queries get it, ask the database about itself once, and connect anew each.
    database = core.Database(database_name="warehouse", sqlalchemy_uri="sqlite:///file:sales?mode=memory&uri=true")
    assert isinstance(core.create_engine, KeptEngines)
    asked, connected = [], []
    with database.get_sqla_engine() as engine:
        initialize = engine.dialect.initialize
        engine.dialect.initialize = lambda connection: (asked.append(1), initialize(connection))
        event.listen(engine, "connect", lambda *_: connected.append(1))
    for _ in range(3):
        assert database.get_df("select 42 as answer").to_dict("records") == [{"answer": 42}]
    assert (len(asked), len(connected)) == (1, 3), (asked, connected)
    database.sqlalchemy_uri = "sqlite:///file:others?mode=memory&uri=true"
    with database.get_sqla_engine() as other:
        assert other is not engine and "others" in str(other.url)

    # The dataset of a chart is read when it is asked for, and is the chart's.
    Model.metadata.create_all(db.engine)
    dataset = SqlaTable(table_name="sales", database=database)
    db.session.add(dataset)
    db.session.flush()
    chart = Slice(slice_name="Sales", datasource_id=dataset.id, datasource_type="table", cache_timeout=60)
    db.session.add(chart)
    db.session.commit()
    chart_id, dataset_id = chart.id, dataset.id
    db.session.expire_all()
    statements = []
    event.listen(db.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    ChartDAO.base_filter = None
    found = QueryContextFactory()._get_slice(chart_id)
    assert found.cache_timeout == 60
    assert len(statements) == 1 and "FROM tables" not in statements[0], statements
    assert found.table.id == dataset_id

    # A dataset is read once in a request, with its database; one that is not there is refused as before.
    db.session.expunge_all()
    statements.clear()
    names = [("table", dataset_id), (DatasourceType.TABLE, dataset_id), ("table", str(dataset_id))]
    read = [DatasourceDAO.get_datasource(kind, name) for kind, name in names]
    assert {id(one) for one in read} == {id(read[0])} and read[0].id == dataset_id
    assert read[0].database.database_name == "warehouse"
    assert len(statements) == 1, statements
    assert DatasourceDAO.get_datasource("table", str(read[0].uuid)) is read[0]
    for kind, name, refusal in (
        ("table", dataset_id + 1, DatasourceNotFound),
        ("query", dataset_id, DatasourceNotFound),
        ("table", "none", DatasourceValueIsIncorrect),
        ("cube", dataset_id, DatasourceTypeNotSupportedError),
    ):
        try:
            DatasourceDAO.get_datasource(kind, name)
        except refusal:
            continue
        raise AssertionError((kind, name))

    # One schema for all questions, and none has anything of the one before.
    assert api.ChartDataQueryContextSchema() is api.ChartDataQueryContextSchema()
    question = {"datasource": {"id": dataset_id, "type": "table"}, "queries": [{"columns": ["a"], "row_limit": 5}]}
    broken = {**question, "queries": [{"row_limit": "many"}]}
    errors = {"queries": {0: {"row_limit": ["Not a valid integer."]}}}
    assert api.ChartDataQueryContextSchema().validate(broken) == errors
    contexts = [
        api.ChartDataQueryContextSchema().load(question),
        api.ChartDataQueryContextSchema().load({**question, "force": True, "queries": [{"columns": ["b"]}]}),
        api.ChartDataQueryContextSchema().load(question),
    ]
    assert [context.queries[0].columns for context in contexts] == [["a"], ["b"], ["a"]]
    assert [context.force for context in contexts] == [False, True, False]
    assert [context.queries[0].row_limit for context in contexts][::2] == [5, 5]
print("done")
"""


def test_engines_are_kept_and_charts_come_without_their_dataset(tmp_path: Path) -> None:
    (tmp_path / "configuration.py").write_text(CONFIGURATION)
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "SUPERSET_CONFIG_PATH": str(tmp_path / "configuration.py"),
        "SUPERSET_HOME": str(tmp_path),
    }
    command = [str(PYTHON), "-c", PROGRAM]
    run = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert run.stdout.endswith("done\n"), run.stderr
