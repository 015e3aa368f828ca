"""DuckDB macros for what Dremio computes differently and DuckDB has no single function for.

Their parameters have no types: DuckDB cannot choose between typed variants when an argument holds an aggregate.
"""

from __future__ import annotations

_IS_NUMBER = "regexp_matches(typeof({0}), '^(DECIMAL|(TINY|SMALL|BIG|HUGE)?INT|FLOAT|DOUBLE)')"

STATEMENTS = (
    # A number is seconds since 1970. Everything goes by way of text, so that each branch fits every type.
    f"""
    CREATE MACRO dremio_to_timestamp(moment) AS
        CASE WHEN {_IS_NUMBER.format("moment")}
             THEN make_timestamp(CAST(CAST(CAST(moment AS VARCHAR) AS DOUBLE) * 1000000 AS BIGINT))
             ELSE CAST(CAST(moment AS VARCHAR) AS TIMESTAMP) END
    """,
    "CREATE MACRO dremio_to_date(moment) AS CAST(dremio_to_timestamp(moment) AS DATE)",
    # A date stays a date.
    "CREATE MACRO dremio_date_trunc(unit, moment) AS cast_to_type(date_trunc(unit, moment), moment)",
    "CREATE MACRO dremio_add_days(moment, span) AS cast_to_type(moment + span, moment)",
    # Of CASE only the branch of the value's type is left when the query is planned.
    """
    CREATE MACRO dremio_text(v) AS
        CASE typeof(v) WHEN 'TIMESTAMP' THEN strftime(TRY_CAST(CAST(v AS VARCHAR) AS TIMESTAMP), '%Y-%m-%d %H:%M:%S.%g')
                       WHEN 'TIME' THEN left(CAST(v AS VARCHAR) || CASE WHEN length(CAST(v AS VARCHAR)) = 8
                                                                        THEN '.' ELSE '' END || '000', 12)
                       ELSE CAST(v AS VARCHAR) END
    """,
    # Dremio rounds halves away from zero, DuckDB to the even neighbour.
    *[
        f"""
        CREATE MACRO dremio_{kind.lower()}(v) AS
            CASE WHEN typeof(v) IN ('FLOAT', 'DOUBLE') THEN CAST(round(TRY_CAST(v AS DOUBLE)) AS {kind})
                 ELSE CAST(v AS {kind}) END
        """
        for kind in ("INTEGER", "BIGINT")
    ],
    """
    CREATE MACRO dremio_locate(needle, text, start) AS
        CAST(CASE strpos(substr(text, start), needle) WHEN 0 THEN 0
                  ELSE strpos(substr(text, start), needle) + start - 1 END AS INTEGER)
    """,
    # Sunday is 1.
    "CREATE MACRO dremio_day_of_week(moment) AS isodow(CAST(moment AS DATE)) % 7 + 1",
    """
    CREATE MACRO dremio_next_day(moment, weekday) AS
        CAST(moment AS DATE) + CAST((weekday - isodow(CAST(moment AS DATE)) + 6) % 7 + 1 AS INTEGER)
    """,
)
