"""Assets of Dremio: ``dremio://<host>:<REST port>/<space or source>/<folder>/../<table or view>``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from dremio_provider.connection import DEFAULT_PORT
from dremio_provider.paths import parse_path

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.sdk import Asset

_FORM = "dremio://host:port/space/table"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Write an asset's address the one way it is compared in.

    :param uri: The address as it was written.
    :returns: With the port, the host in small letters, each part of the path encoded alike, and nothing behind it.
    :raises ValueError: It lacks the host or the path of a dataset.
    """
    if not uri.hostname:
        raise ValueError(f"URI format {_FORM} must contain a host")
    parts = [unquote(part) for part in uri.path.split("/")[1:]]
    if len(parts) < 2 or not all(parts):
        raise ValueError(f"URI format {_FORM} must contain the path of a table or view")
    host = f"[{uri.hostname}]" if ":" in uri.hostname else uri.hostname
    path = "".join(f"/{quote(part, safe='')}" for part in parts)
    return uri._replace(netloc=f"{host}:{uri.port or DEFAULT_PORT}", path=path, query="", fragment="")


def create_asset(
    *, host: str, path: str | Sequence[str], port: int = DEFAULT_PORT, extra: dict[str, Any] | None = None
) -> Asset:
    """An asset for a table or view.

    :param host: Dremio's host.
    :param path: Path of the dataset, such as ``gold.orders``, or its parts.
    :param port: Dremio's REST port.
    :param extra: Further facts, kept by Airflow.
    """
    from airflow.sdk import Asset

    return Asset(
        uri=f"dremio://{host}:{port}/" + "/".join(quote(part, safe="") for part in parse_path(path)), extra=extra or {}
    )


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:
    """The same dataset in OpenLineage's words.

    :param asset: An asset of this scheme.
    :param lineage_context: The hook that asks; not needed.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(f"dremio://{uri.netloc}", ".".join(unquote(part) for part in uri.path.split("/")[1:]))
