"""Each knob of the architecture becomes a setting that Airbyte has, or is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from lakehouse.tuning import Tuning, TuningError, tuned_destination, tuned_manifest, tuned_source

CDC = {"sourceType": "postgres", "replication_method": {"method": "CDC"}}
PARQUET = {"destinationType": "s3", "format": {"format_type": "Parquet"}}
JSONL = {"destinationType": "s3", "format": {"format_type": "JSONL"}}
PAGED = {"page_size_option": {}, "pagination_strategy": {"type": "CursorPagination", "page_size": 500}}
MANIFEST = {"streams": [{"retriever": {"paginator": PAGED}}, {"retriever": {}}]}


def test_what_each_knob_becomes() -> None:
    assert tuned_source(CDC, Tuning(batch_size=5000))["replication_method"] == {"method": "CDC", "queue_size": 5000}
    assert tuned_source({"sourceType": "mongodb-v2"}, Tuning(batch_size=1000))["queue_size"] == 1000
    assert tuned_source({"sourceType": "mysql"}, Tuning(parallel_workers=4))["max_db_connections"] == 4
    tuned = tuned_manifest(MANIFEST, Tuning(batch_size=100, parallel_workers=4))
    assert tuned["streams"][0]["retriever"]["paginator"]["pagination_strategy"]["page_size"] == 100
    assert tuned["concurrency_level"] == {"type": "ConcurrencyLevel", "default_concurrency": 4}
    parquet = tuned_destination(PARQUET, Tuning(compression="zstd", buffer_size_mb=256))["format"]
    assert parquet == {"format_type": "Parquet", "compression_codec": "ZSTD", "block_size_mb": 256}
    assert tuned_destination(PARQUET, Tuning(compression="none"))["format"]["compression_codec"] == "UNCOMPRESSED"
    assert tuned_destination(JSONL, Tuning(compression="gzip"))["format"]["compression"] == {"compression_type": "GZIP"}


def test_what_is_not_given_is_left_alone() -> None:
    for value, tune in ((CDC, tuned_source), (MANIFEST, tuned_manifest), (PARQUET, tuned_destination)):
        assert tune(value, Tuning()) == value
    assert PAGED["pagination_strategy"]["page_size"] == 500


@pytest.mark.parametrize(
    ("tune", "value", "knobs", "words"),
    [
        (tuned_source, {"sourceType": "postgres"}, {"batch_size": 5000}, "batch_size: 5000: source-postgres without"),
        (tuned_source, CDC, {"batch_size": 50_000}, "allowed: 1000 to 10000"),
        (tuned_source, CDC, {"parallel_workers": 4}, "parallel_workers: 4: source-postgres has no such setting"),
        (tuned_manifest, {"streams": [{}]}, {"batch_size": 10}, "no stream of the manifest"),
        (tuned_destination, JSONL, {"compression": "zstd"}, "compression: 'zstd': JSONL .*allowed: none, gzip"),
        (tuned_destination, JSONL, {"buffer_size_mb": 9}, "buffer_size_mb: 9: JSONL has no row groups"),
        (tuned_destination, {"destinationType": "postgres"}, {"compression": "gzip"}, "writes no files"),
    ],
)
def test_what_airbyte_does_not_have_is_refused(tune: Any, value: Any, knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(TuningError, match=words):
        tune(value, Tuning(**knobs))
