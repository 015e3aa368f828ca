"""OpenLineage: which datasets an operator read and wrote. Imported only when Airflow asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from dremio_provider.paths import parse_path


def operator_lineage(
    *,
    address: str = "",
    read: Iterable[str] = (),
    written: Iterable[str] = (),
    outputs: Iterable[tuple[str, str]] = (),
    run_facets: dict[str, Any] | None = None,
) -> Any:
    """What OpenLineage is told about one run; empty when nothing ran.

    :param address: Root of Dremio.
    :param read: Paths of the datasets that were read.
    :param written: Paths of the datasets that were written.
    :param outputs: What was written elsewhere, ``(namespace, name)``.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(
        inputs=[Dataset(*dataset_name(address, path)) for path in read],
        outputs=[
            *(Dataset(*dataset_name(address, path)) for path in written),
            *(Dataset(namespace, name) for namespace, name in outputs),
        ],
        run_facets=run_facets or {},
    )


def dataset_name(address: str, path: str) -> tuple[str, str]:
    """A dataset's namespace and name, as OpenLineage's naming rules and dbt's integration write them.

    :param address: Root of Dremio's REST API.
    :param path: Path of the dataset.
    """
    return f"dremio://{urlsplit(address).netloc}", ".".join(parse_path(path))
