from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.airbyte.connectors.envelope import raw_ids
from sandbox.airbyte.connectors.landing import DEFAULT_FILE_NAME_PATTERN, DEFAULT_PATH_FORMAT, Layout

AT = datetime(2026, 2, 3, 4, 5, 6, 7000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path_format", "pattern", "expected"),
    [
        (
            DEFAULT_PATH_FORMAT,
            DEFAULT_FILE_NAME_PATTERN,
            "lake/public/orders/2026_02_03_1770091506007_0.parquet",
        ),
        (
            "source=postgres/${STREAM_NAME}/",
            "{sync_id}_{timestamp}_{part_number}{format_extension}",
            "lake/source=postgres/orders/42_1770091506007_0.parquet",
        ),
        (
            "${STREAM_NAME}/${YEAR}/${MONTH}/${DAY}/${HOUR}${MINUTE}${SECOND}.${MILLISECOND}/",
            "{date}-{date:yyyy_MM}-{timestamp:HHmmss}-{part_number}{format_extension}",
            "lake/orders/2026/02/03/040506.007/2026_02_03-2026_02-040506-0.parquet",
        ),
        ("//${STREAM_NAME}//", "{part_number}", "lake/orders/0"),
    ],
)
def test_keys(path_format: str, pattern: str, expected: str) -> None:
    layout = Layout("lake", path_format, pattern, ".parquet")
    assert layout.key("orders", "public", 42, AT, 0) == expected


names = st.from_regex(r"[A-Za-z_.+()$-][A-Za-z0-9_.+()$-]{0,12}", fullmatch=True)


@given(stream=names, other=names, part=st.integers(0, 5000), sync_id=st.integers(1, 10**9))
def test_a_key_is_found_again_by_its_own_stream_only(stream: str, other: str, part: int, sync_id: int) -> None:
    for path_format in ("x/${STREAM_NAME}/", "x/${STREAM_NAME}/${YEAR}/${EPOCH}_${UUID}/"):
        pattern = "{sync_id}_{timestamp}_{date:yyyyMMdd}_{part_number}{format_extension}"
        layout = Layout("lake", path_format, pattern, ".jsonl.gz")
        key = layout.key(stream, None, sync_id, AT, part)
        prefix, expression = layout.earlier(stream, None)
        assert key.startswith(prefix)
        assert expression.fullmatch(key)
        if other != stream:
            assert not layout.earlier(other, None)[1].fullmatch(key)


@given(count=st.integers(1, 200))
def test_raw_ids_are_distinct_version_four_uuids(count: int) -> None:
    ids = raw_ids(count).to_pylist()
    assert len(set(ids)) == count
    version_four = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(version_four.fullmatch(item) for item in ids)
