"""What a reflection answers is what the dataset answers: random data, reflections, queries and changes.

Two views with the same query stand on the same table. One has reflections; the other has none, and says what is right.
"""

from __future__ import annotations

import itertools
import math
import threading
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyarrow import flight

from tests.sandbox.dremio import grammar
from tests.sandbox.dremio.services import Dremio, read, wait_until

TABLE = "lake.datalake.accelerated.base"
OTHER = "lake.datalake.accelerated.other"
VIEW = f"select * from {TABLE} where id >= 0"
KINDS = ("RAW", "AGGREGATION")
# An example takes about a second: one that fails is reported as it is, not shrunk for minutes.
calm = settings(derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
number = itertools.count()


class Twins:
    """The two views, and a count of how often the one with reflections was answered from one."""

    def __init__(self, dremio: Dremio) -> None:
        self.dremio = dremio
        self.client, self.options = dremio.flight()
        self.asked = 0
        self.accelerated = 0
        dremio.rows("create or replace view gold.fast as select 1 as one")
        dremio.rows(f"create table {OTHER} as select * from (values ('a'), ('c'), (null)) as v(name)")

    def set_up(self, rows: list[grammar.Row]) -> None:
        self.clear()
        self.dremio.rows(f"drop table if exists {TABLE}")
        self.dremio.rows(f"create table {TABLE} as {grammar.values(rows)}")
        for name in ("fast", "plain"):
            self.dremio.rows(f"create or replace view gold.{name} as {VIEW}")
            self.dremio.rows(f"create or replace view gold.{name}_outer as select *, upper(k) as u from gold.{name}")

    def clear(self) -> None:
        """Delete what an example before this one has left."""
        for reflection in self._reflections():
            self.dremio.http.delete(f"/api/v3/reflection/{reflection['id']}")

    def _reflections(self) -> list[dict[str, Any]]:
        dataset = self.dremio.entity("gold", "fast")["id"]
        return self.dremio.http.get(f"/api/v3/dataset/{dataset}/reflection").json()["data"]

    def reflect(self, body: dict[str, Any]) -> None:
        dataset = self.dremio.entity("gold", "fast")["id"]
        asked = {"datasetId": dataset, "name": f"r{next(number)}", "enabled": True, **body}
        answer = self.dremio.http.post("/api/v3/reflection", json=asked)
        assert answer.status_code == 200, answer.text

    def refresh(self) -> None:
        before = {entry["id"]: entry["status"]["lastDataFetch"] for entry in self._reflections()}
        table = self.dremio.entity(*TABLE.split("."))["id"]
        assert self.dremio.http.post(f"/api/v3/catalog/{table}/refresh").status_code == 204
        wait_until(lambda: all(self._newer(entry, before) for entry in self._reflections()), what="the refresh")

    def _newer(self, entry: dict[str, Any], before: dict[str, str]) -> bool:
        assert not entry["status"]["failureCount"], entry["status"]
        return entry["status"]["lastDataFetch"] > before[entry["id"]]

    def settle(self) -> None:
        def built() -> bool:
            statuses = [entry["status"] for entry in self._reflections()]
            assert not any(status["failureCount"] for status in statuses), statuses
            return all(status["combinedStatus"] == "CAN_ACCELERATE" and status["refresh"] not in ("PENDING", "RUNNING")
                       for status in statuses)  # fmt: skip

        wait_until(built, what="the reflections")

    def compare(self, query: str) -> bool:
        """Ask both views; return whether a reflection answered."""
        texts = [query.replace("{ds}", f"gold.{name}").replace("{other}", OTHER) for name in ("fast", "plain")]
        fast, plain = (self._answer(text) for text in texts)
        plan = self.dremio.rows(f"explain plan for {texts[0]}") if isinstance(plain, pa.Table) else []
        chosen = bool(plan) and '"CHOSEN"' in plan[0]["json"]
        self.asked += 1
        self.accelerated += chosen
        if not isinstance(plain, pa.Table):
            assert isinstance(fast, str), (query, plain)
            return chosen
        assert isinstance(fast, pa.Table), (query, fast)
        assert fast.schema == plain.schema, query
        assert _same(fast, plain), f"{query}\n{fast.to_pylist()}\n{plain.to_pylist()}\n{plan}"
        return chosen

    def _answer(self, text: str) -> pa.Table | str:
        try:
            return read(self.client, self.options, text)
        except (pa.ArrowException, flight.FlightError) as error:
            return str(error)


def _same(left: pa.Table, right: pa.Table) -> bool:
    rows = [sorted((tuple(row.values()) for row in table.to_pylist()), key=_order) for table in (left, right)]
    return len(rows[0]) == len(rows[1]) and all(
        _equal(one, other) for a, b in zip(*rows, strict=True) for one, other in zip(a, b, strict=True)
    )


def _order(row: tuple[Any, ...]) -> str:
    return repr([f"{value:.9g}" if isinstance(value, float) else value for value in row])


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    return bool(one == other)


@pytest.fixture(scope="module")
def twins(dremio) -> Twins:
    return Twins(dremio)


def test_reflections_answer_as_their_dataset_does(twins):
    @settings(calm, max_examples=25)
    @given(
        rows=grammar.rows,
        reflections=st.tuples(*(st.lists(grammar.reflection(kind), max_size=2) for kind in KINDS)).map(
            lambda lists: [*lists[0], *lists[1]]
        ).filter(bool),
        queries=st.lists(grammar.query, min_size=12, max_size=12, unique=True),
    )  # fmt: skip
    def check(rows, reflections, queries):
        twins.set_up(rows)
        for body in reflections:
            twins.reflect(body)
        twins.settle()
        for query in queries:
            twins.compare(query)

    check()
    assert twins.asked >= 250
    assert twins.accelerated / twins.asked > 0.5


def test_what_was_committed_is_seen_while_tables_change_and_reflections_are_built(twins):
    twins.set_up([])
    twins.reflect({"type": "RAW", "displayFields": [{"name": "id"}, {"name": "k"}]})
    twins.reflect({"type": "AGGREGATION", "dimensionFields": [{"name": "k"}], "measureFields": [{"name": "n"}]})
    twins.settle()
    begun, committed, wrong = [0], [0], []
    table = twins.dremio.entity(*TABLE.split("."))["id"]

    def change() -> None:
        for number_ in range(1, 25):
            begun[0] = number_
            twins.dremio.rows(f"insert into {TABLE} (id, k, n) values ({number_}, 'a', 1)")
            committed[0] = number_
            twins.dremio.http.post(f"/api/v3/catalog/{table}/refresh")

    def ask(query: str) -> None:
        client, options = twins.dremio.flight()
        while writer.is_alive():
            low = committed[0]
            (seen,) = read(client, options, query).to_pydict()["c"]
            if not low <= seen <= begun[0]:
                wrong.append((low, seen, begun[0]))

    writer = threading.Thread(target=change)
    queries = ("select count(*) as c from gold.fast where k = 'a'", "select count(id) as c from gold.fast_outer")
    readers = [threading.Thread(target=ask, args=(query,)) for query in queries]
    for thread in (writer, *readers):
        thread.start()
    for thread in (writer, *readers):
        thread.join(60)
    assert committed == [24]
    assert not wrong
    query = "select sum(accelerated_count) as uses from sys.reflections where reflection_name = 'r{}'"
    last = next(number)
    assert sum(twins.dremio.rows(query.format(name))[0]["uses"] or 0 for name in (last - 2, last - 1)) > 0
    twins.refresh()
    assert twins.compare("select k, sum(n) as n from {ds} group by k")


CHANGES = {
    "insert": f"insert into {TABLE} (id, k, d, i, b, n) values (7, 'a', date '2026-02-01', 1, 5, 1.5)",
    "delete": f"delete from {TABLE} where i is null or i > 0",
    "update": f"update {TABLE} set k = 'b', n = 3 where id > 500 or k = 'a'",
    "merge": (
        f"merge into {TABLE} as x using (select 7 as id, 'z' as k) as y on (x.id = y.id) "
        "when matched then update set k = y.k when not matched then insert (id, k) values (y.id, y.k)"
    ),
    "rebuild": "",
    "redefine": "",
    "refresh": "",
}
PROBES = (
    "select k, count(*) as c, sum(n) as n from {ds} group by k",
    "select sum(b) as b, count(*) as c from {ds} where k = 'a'",
    "select id, k, n from {ds} where k is not null",
    "select count(*) as c from {ds}_outer",
)


def test_a_reflection_that_lags_behind_is_never_used(twins):
    fresh = []

    @settings(calm, max_examples=12)
    @given(
        rows=grammar.rows, again=grammar.rows, steps=st.lists(st.sampled_from(sorted(CHANGES)), min_size=3, max_size=7)
    )
    def check(rows, again, steps):
        twins.set_up(rows)
        twins.reflect({"type": "RAW", "displayFields": [{"name": name} for name in ("id", "k", "n")]})
        twins.reflect(
            {
                "type": "AGGREGATION",
                "dimensionFields": [{"name": "k"}],
                "measureFields": [{"name": name, "measureTypeList": ["SUM", "COUNT"]} for name in ("n", "b")],
            }
        )
        twins.settle()
        redefined = False
        for step in ["refresh", *steps]:
            if step == "rebuild":
                twins.dremio.rows(f"drop table {TABLE}")
                twins.dremio.rows(f"create table {TABLE} as {grammar.values(again)}")
            elif step == "redefine":
                redefined = not redefined
                for name in ("fast", "plain"):
                    condition = " and k = 'a'" if redefined else ""
                    twins.dremio.rows(f"create or replace view gold.{name} as {VIEW}{condition}")
            elif step == "refresh":
                twins.refresh()
            else:
                twins.dremio.rows(CHANGES[step])
            used = [twins.compare(query) for query in PROBES]
            if step == "refresh":
                fresh.append(all(used))

    check()
    assert len(fresh) >= 12
    assert all(fresh)
