"""Index templates of Elasticsearch: ``include/elasticsearch/*.json``, one template a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lakehouse import connections
from lakehouse.files import ConfigError, include_dir
from lakehouse.logs import elasticsearch_client
from lakehouse.setup.changes import Action, Change


def apply(conn_id: str = "elasticsearch_default") -> list[Change]:
    """Put every declared index template that is not there or differs.

    Args:
        conn_id: Airflow connection of Elasticsearch.

    Returns:
        One change for each file; its name is the template's.

    Raises:
        ConfigError: When a file is not JSON.
    """
    from elasticsearch import NotFoundError

    client = elasticsearch_client(connections.get(conn_id))
    changes = []
    try:
        for path in sorted((include_dir() / "elasticsearch").glob("*.json")):
            try:
                declared = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ConfigError(f"{path}: is not JSON: {error}") from error
            try:
                found = client.indices.get_index_template(name=path.stem)["index_templates"][0]["index_template"]
            except NotFoundError:
                found = None
            if found is not None and _plain(found) == _plain(declared):
                changes.append(Change("elasticsearch", "index template", path.stem, "unchanged"))
                continue
            client.indices.put_index_template(name=path.stem, body=declared)
            action: Action = "created" if found is None else "updated"
            changes.append(Change("elasticsearch", "index template", path.stem, action))
    finally:
        client.close()
    return changes


def _plain(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return a template in the form in which Elasticsearch gives it back: settings below "index", all as text."""
    body = template.get("template", {})
    settings = body.get("settings", {})
    flat = {**{key: value for key, value in settings.items() if key != "index"}, **settings.get("index", {})}
    return {
        "index_patterns": sorted(template.get("index_patterns", [])),
        "priority": template.get("priority"),
        "settings": {key: str(value) for key, value in flat.items()},
        "mappings": body.get("mappings", {}),
        "_meta": template.get("_meta"),
    }
