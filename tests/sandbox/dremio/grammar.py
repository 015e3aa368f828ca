"""Random datasets, reflections and queries, of which a good part is covered by the reflections."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

Row = dict[str, Any]

COLUMNS = {
    "id": "integer",
    "k": "varchar",
    "d": "date",
    "t": "timestamp",
    "i": "integer",
    "b": "bigint",
    "n": "decimal(10, 2)",
    "f": "double",
}
DIMENSIONS = ("k", "d", "t", "i")
MEASURED = ("i", "b", "n", "f", "d", "k")
FUNCTIONS = ("SUM", "COUNT", "MIN", "MAX", "APPROX_COUNT_DISTINCT")
_DAY = datetime.date(2026, 1, 30)


def literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, datetime.datetime):
        return f"timestamp '{value:%Y-%m-%d %H:%M:%S}'"
    if isinstance(value, datetime.date):
        return f"date '{value}'"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _nullable(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, values, values, st.none())


_days = st.integers(0, 4).map(lambda days: _DAY + datetime.timedelta(days))
_moments = st.builds(
    lambda day, hour: datetime.datetime.combine(day, datetime.time(hour)), _days, st.sampled_from([0, 0, 9, 23])
)
# Halves add up exactly in a double whatever their order is.
row = st.fixed_dictionaries(
    {
        "id": st.integers(0, 1000),
        "k": _nullable(st.sampled_from(["a", "b", "B", ""])),
        "d": _nullable(_days),
        "t": _nullable(_moments),
        "i": _nullable(st.integers(-2, 2)),
        "b": _nullable(st.integers(-(10**12), 10**12)),
        "n": _nullable(st.integers(-500, 500).map(lambda cents: Decimal(cents) / 100)),
        "f": _nullable(st.integers(-8, 8).map(lambda halves: halves / 2)),
    }
)
rows = st.one_of(st.lists(row, max_size=2), st.lists(row, min_size=3, max_size=30))


def values(data: list[Row]) -> str:
    """A query that yields these rows in the columns' types, an empty one as well."""
    casts = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in COLUMNS.items())
    given = data or [dict.fromkeys(COLUMNS)]
    listed = ", ".join("(" + ", ".join(literal(entry[name]) for name in COLUMNS) + ")" for entry in given)
    nothing = "" if data else " where 1 = 0"
    return f"select {casts} from (values {listed}) as v({', '.join(COLUMNS)}){nothing}"


@st.composite
def reflection(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    if kind == "RAW":
        shown = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=5, unique=True))
        sort = draw(st.lists(st.sampled_from(shown), max_size=2, unique=True))
        return {"type": "RAW", "displayFields": _fields(shown), "sortFields": _fields(sort)}
    dimensions = draw(st.lists(st.sampled_from(DIMENSIONS), min_size=2, unique=True))
    measured = draw(st.lists(st.sampled_from(MEASURED), min_size=3, unique=True))
    granularity = draw(st.sampled_from(["NORMAL", "DATE"]))
    return {
        "type": "AGGREGATION",
        "dimensionFields": [{"name": name, "granularity": granularity} for name in dimensions],
        "measureFields": [{"name": name, "measureTypeList": _functions(name)} for name in measured],
    }


def _functions(name: str) -> list[str]:
    return [function for function in FUNCTIONS if function != "SUM" or name not in ("d", "k")]


def _fields(names: list[str]) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


# -- queries: {ds} is the dataset, {ds}_outer a view on it, {other} a table to join

_EXPRESSIONS = (
    "k", "d", "t", "i", "upper(k)", "date_trunc('month', d)", "date_trunc('day', t)", "cast(t as date)",
    "extract(year from d)", "extract(month from t)", "i + 1", "coalesce(k, 'none')", "b", "concat(k, '-', k)",
    "case when i > 0 then k else 'x' end",
)  # fmt: skip
_CONDITIONS = (
    "k = 'a'", "k in ('a', 'b')", "k is null", "k is not null", "d >= date '2026-02-01'", "d = date '1999-01-01'",
    "d between date '2026-01-31' and date '2026-02-02'", "i > 0", "i <> 1 or k = 'b'", "not (i = 1)",
    "t >= timestamp '2026-02-01 00:00:00'", "t < timestamp '2026-02-02 00:00:00'",
    "t > timestamp '2026-02-01 09:00:00'", "b > 0", "n < 1", "k like 'a%'", "1 = 0",
    "k in (select name from {other})", "exists (select 1 from {other} o where o.name = 'a')",
)  # fmt: skip
_AGGREGATES = (
    "count(*)", "count(1)", "count(k)", "count(i)", "count(b)", "sum(i)", "sum(b)", "sum(n)", "sum(f)", "min(n)",
    "max(n)", "min(k)", "max(k)", "min(d)", "max(d)", "min(f)", "avg(i)", "avg(n)", "avg(f)", "avg(b)",
    "approx_count_distinct(b)", "ndv(k)", "count(distinct k)", "count(distinct i)", "count(distinct b)",
    "max(upper(k))", "sum(n) / count(*)",
    "sum(i) filter (where k = 'a')", "count(*) filter (where i > 0)", "sum(n) - min(n)", "stddev_pop(f)", "sum(i * 2)",
    "count(upper(k))", "min(t)", "sum(case when k = 'a' then n else 0 end)", "sum(case when i > 0 then b end)",
    "sum(case when k is null then 1 when d > date '2026-02-01' then 2 else 0 end)",
    "count(case when k = 'a' then 1 end)",
    "sum(case k when 'a' then f when 'b' then null else 0 end)", "sum(case when i > 0 then n else 1 end)",
)  # fmt: skip
_SOURCES = (
    "{ds}", "{ds}", "{ds} as s", "{ds}_outer", "(select * from {ds}) as s", "with",
    "(select k, d, i, t, n, b, f from {ds} where i < 2) as s", "(select *, i as j from {ds} where d is not null) as s",
)  # fmt: skip


def _some(values: tuple[str, ...], low: int, high: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=low, max_size=high, unique=True)


def _with(source: str, text: str) -> str:
    if source == "with":
        return f"with s as (select * from {{ds}} where k is null or k <> 'b') {text.replace('with', 's', 1)}"
    return text


@st.composite
def aggregation(draw: st.DrawFn) -> str:
    source = draw(st.sampled_from(_SOURCES))
    groups = draw(_some(_EXPRESSIONS, 0, 2))
    aggregates = draw(_some(_AGGREGATES, 1, 3))
    conditions = draw(_some(_CONDITIONS, 0, 2))
    items = [f"{text} as g{position}" for position, text in enumerate(groups)]
    items += [f"{text} as a{position}" for position, text in enumerate(aggregates)]
    if groups and draw(st.integers(0, 5)) == 0:
        items.append(f"sum({aggregates[0]}) over (partition by {groups[0]}) as w")
    text = f"select {', '.join(items)} from {source}"
    text += f" where {' and '.join(f'({condition})' for condition in conditions)}" if conditions else ""
    if groups:
        by = draw(st.sampled_from(["expressions", "ordinals", *(["rollup"] if len(groups) == 2 else [])]))
        listed = ", ".join(groups if by != "ordinals" else [str(number + 1) for number in range(len(groups))])
        text += f" group by rollup({listed})" if by == "rollup" else f" group by {listed}"
    having = draw(st.sampled_from(["", "", "", "count(*) > 1", f"{aggregates[0]} is not null"]))
    text += f" having {having}" if having else ""
    if draw(st.integers(0, 3)) == 0:
        text += f" order by {', '.join(str(number + 1) for number in range(len(groups) + len(aggregates)))} limit 3"
    return _with(source, text)


@st.composite
def projection(draw: st.DrawFn) -> str:
    source = draw(st.sampled_from(_SOURCES))
    items = draw(_some(_EXPRESSIONS, 1, 3))
    conditions = draw(_some(_CONDITIONS, 0, 2))
    distinct = draw(st.sampled_from(["", "", "distinct "]))
    named = [f"{text} as c{position}" for position, text in enumerate(items)]
    text = f"select {distinct}{', '.join(named)} from {source}"
    text += f" where {' and '.join(f'({condition})' for condition in conditions)}" if conditions else ""
    if draw(st.booleans()):
        text += f" order by {', '.join(str(number + 1) for number in range(len(items)))} limit 4"
    return _with(source, text)


_FIXED = (
    "select * from {ds}",
    "select K, Count(*) as C from {ds} group by K",
    "select x.k, y.name from {ds} x left join {other} y on x.k = y.name and x.i > 0",
    "select y.name, x.n from {other} y left join {ds} x on x.k = y.name where x.d is null or x.i >= 0",
    "select y.name, q.n from {other} y left join (select k, sum(n) as n from {ds} group by k) q on q.k = y.name",
    "select k from {ds} union all select name from {other}",
    "select k, i from {ds} intersect select name, 1 from {other}",
    "select k, rank() over (order by sum(n) desc, k) as r from {ds} group by k",
    "select id, row_number() over (partition by k order by id, b, n, d, t, i, f) as r from {ds}",
    "select k, count(*) over () as c from {ds}",
    "select distinct k, count(*) over () as c from {ds}",
    "select x.k, count(*) as c from {ds} x join {ds} y on x.k = y.k group by x.k",
    "select max(c) as m from (select k, count(*) as c from {ds} group by k) s",
    "select k, (select count(*) from {ds} y where y.k = x.k) as c from {ds} x",
    "select k as i, sum(i) as k from {ds} group by k having sum(i) > -1",
    "select sum(s) as s, count(*) as c from (select k, sum(n) as s from {ds}_outer group by k) q",
    "select u, count(*) as c, sum(n) as n from {ds}_outer group by u",
    "select {ds}.k from {ds} where {ds}.i > 0",
    "select count(*) as c from (select k from {ds} limit 3) s",
    "select count(*) as c from {ds} where d < current_date",
    "with a as (select * from {ds}), b as (select k, sum(n) as n from a group by k) "
    "select b.k, b.n, a.id from a join b on a.k = b.k",
)
query = st.one_of(aggregation(), aggregation(), projection(), st.sampled_from(_FIXED))
