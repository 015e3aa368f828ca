"""Values in SQL: every one comes back from a real Dremio as it went in, or is refused before anything is sent."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from dremio_provider.exceptions import DremioTerminalError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.parameters import bind, literal
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

MILLISECOND = timedelta(milliseconds=1)
# A statement costs some milliseconds, so each example carries many values.
SEVERAL = settings(max_examples=25, suppress_health_check=list(HealthCheck))

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
hostile = st.lists(st.sampled_from(["'", "''", '"', "\\", "--", "/*", "*/", "//", ";", "%s", "%%", "\n", "a"])).map(
    "".join
)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**20), max_value=10**20)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(
    lambda value: value.replace(microsecond=value.microsecond // 1000 * 1000)
)


@pytest.fixture(scope="module")
def hook(real_hook: DremioHook) -> DremioHook:
    return real_hook


def sent_and_back(hook: DremioHook, values: list[Any]) -> list[Any]:
    columns = ", ".join(f"%s AS c{number}" for number in range(len(values)))
    row = hook.get_first(f"SELECT {columns}", values)
    assert len(row) == len(values)
    return list(row)


def many(strategy: Any) -> Any:
    return st.lists(strategy, min_size=1, max_size=30)


@SEVERAL
@example(["'; DROP TABLE x --", "\\' OR 1=1", "%s", "é\U0001f600", "", "a''b", "line\nbreak", "/* */", "{}"])
@given(values=many(texts | hostile))
def test_texts(hook: DremioHook, values: list[str]) -> None:
    assert sent_and_back(hook, values) == values


@SEVERAL
@example([0, -1, 2**63 - 1, -(2**63)])
@given(values=many(st.integers(-(2**63), 2**63 - 1)))
def test_integers(hook: DremioHook, values: list[int]) -> None:
    assert sent_and_back(hook, values) == values


@SEVERAL
@example([Decimal("1E+5"), Decimal("-0.001"), Decimal("0"), Decimal("9" * 38), Decimal("0." + "0" * 37 + "1")])
@given(values=many(decimals))
def test_decimals(hook: DremioHook, values: list[Decimal]) -> None:
    found = sent_and_back(hook, values)
    assert found == values
    assert all(type(value) is Decimal for value in found)


@SEVERAL
@example([0.0, -0.0, 1e308, 5e-324, 0.1, -1.5])
@given(values=many(st.floats(allow_nan=False, allow_infinity=False)))
def test_floats(hook: DremioHook, values: list[float]) -> None:
    assert sent_and_back(hook, values) == values


@SEVERAL
@given(values=many(st.dates() | moments | st.booleans() | st.none() | st.binary(max_size=40)))
def test_dates_moments_truth_nothing_and_bytes(hook: DremioHook, values: list[Any]) -> None:
    assert sent_and_back(hook, values) == values


@SEVERAL
@given(value=moments, hours=st.integers(-12, 12))
def test_a_moment_with_a_zone_is_sent_as_utc(hook: DremioHook, value: datetime, hours: int) -> None:
    there = value.replace(tzinfo=timezone(timedelta(hours=hours)))
    if datetime(2, 1, 1) < value < datetime(9998, 1, 1):
        assert sent_and_back(hook, [there]) == [there.astimezone(UTC).replace(tzinfo=None)]


def test_times(hook: DremioHook) -> None:
    values = [time(0, 0), time(23, 59, 59, 999000)]
    assert sent_and_back(hook, values) == values


@SEVERAL
@given(values=many(texts | hostile), absent=texts)
def test_a_list_is_what_in_takes(hook: DremioHook, values: list[str], absent: str) -> None:
    found = hook.get_first("SELECT %(one)s IN %(all)s, %(other)s IN %(all)s", {
        "one": values[-1], "all": values, "other": absent + "!no",
    })  # fmt: skip
    assert found == (True, absent + "!no" in values)


@SEVERAL
@given(value=texts | hostile, column=st.sampled_from(["plain", "it''s", "a.b"]))
def test_a_value_cannot_leave_its_place(hook: DremioHook, value: str, column: str) -> None:
    sql = f"SELECT 'don''t %%' AS a, %s AS b, 1 -- it's a comment\n, 2 AS \"{column}\" /* 'x' */ WHERE 'q' <> '\"'"
    assert hook.get_first(sql, [value]) == ("don't %", value, 1, 2)


def test_pendulum_and_pandas_moments_are_moments(hook: DremioHook) -> None:
    import pandas as pd
    import pendulum

    moment = pendulum.datetime(2026, 11, 25, 1, 2, 3, tz="Europe/Berlin")
    assert sent_and_back(hook, [moment, pd.Timestamp("2026-11-25 01:02:03")]) == [
        datetime(2026, 11, 25, 0, 2, 3),
        datetime(2026, 11, 25, 1, 2, 3),
    ]


class Shouting(str):
    def replace(self, *_: Any) -> str:
        return "'; DROP TABLE orders --"


class Colour(enum.IntEnum):
    RED = 1


def not_a_time() -> Any:
    import pandas as pd

    return pd.NaT


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Shouting("x"), id="str subclass"),
        pytest.param(Colour.RED, id="enum"),
        pytest.param({"a": 1}, id="dict"),
        pytest.param(object(), id="object"),
        pytest.param(2**63, id="beyond 64 bits"),
        pytest.param(Decimal("1" * 39), id="39 digits"),
        pytest.param(Decimal("NaN"), id="decimal nan"),
        pytest.param(float("nan"), id="nan"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param("nul\0", id="nul"),
        pytest.param("\ud800", id="surrogate"),
        pytest.param(time(1, tzinfo=UTC), id="time with zone"),
        pytest.param([], id="empty list"),
        pytest.param([[1]], id="nested list"),
        pytest.param(not_a_time(), id="not a time"),
    ],
)
def test_what_cannot_be_written_safely_is_refused(value: Any) -> None:
    with pytest.raises(DremioTerminalError, match="cannot be bound"):
        literal(value)


@pytest.mark.parametrize(
    ("sql", "parameters", "said"),
    [
        ("SELECT '%s'", ["x"], "inside quotes"),
        ('SELECT "%(a)s"', {"a": 1}, "inside quotes"),
        ("SELECT 1 -- %s", ["x"], "inside quotes"),
        ("SELECT 1 // %s", ["x"], "inside quotes"),
        ("SELECT 'x %s", ["'"], "never ends"),
        ("SELECT 1 /* %s", ["*/"], "never ends"),
        ("SELECT %s", [1, 2], "1 placeholders for 2"),
        ("SELECT %s, %s", [1], "no value"),
        ("SELECT %(a)s", {"b": 1}, "no value for parameter 'a'"),
        ("SELECT %(a)s", [1], "do not fit"),
        ("SELECT %s", {"a": 1}, "do not fit"),
        ("SELECT %s", "text", "type str"),
    ],
)
def test_placeholders_that_do_not_fit_are_refused(sql: str, parameters: Any, said: str) -> None:
    with pytest.raises(DremioTerminalError, match=said):
        bind(sql, parameters)


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_without_parameters_the_text_stays_as_it_is(nothing: Any) -> None:
    assert bind("SELECT '100 %', %s -- '", nothing) == "SELECT '100 %', %s -- '"


def test_a_refused_value_is_not_in_the_message() -> None:
    with pytest.raises(DremioTerminalError) as caught:
        bind("SELECT '%s'", ["s3cr3t-value"])
    assert "s3cr3t-value" not in str(caught.value)


def test_a_sign_does_not_run_into_what_stands_before_it(hook: DremioHook) -> None:
    # "1 -" and a bare -5 would begin a comment.
    assert hook.get_first("SELECT 1 -%s\n, 1 -%s\n, 1 -%s\n", [-5, Decimal("-5"), -5.0]) == (6, 6, 6)


def test_a_date_is_not_a_moment() -> None:
    assert literal(date(2026, 1, 2)) == "DATE '2026-01-02'"
    assert literal(datetime(2026, 1, 2)) == "TIMESTAMP '2026-01-02 00:00:00.000'"
