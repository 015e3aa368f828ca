"""What a statement reads and writes, for OpenLineage. Imported only when lineage is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dremio_provider.connection import DremioSettings
from dremio_provider.paths import parse_path

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

Path = tuple[str, ...]

_NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_PATH = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
# The start of the statements that write, with what they write; their options are Dremio's own and differ by version.
_WRITES = re.compile(
    r"(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:TABLE|VIEW|VDS)(?:\s+IF\s+NOT\s+EXISTS)?|INSERT\s+INTO|MERGE\s+INTO|UPDATE"
    rf"|DELETE\s+FROM|TRUNCATE\s+TABLE|COPY\s+INTO)\s+(?P<path>{_PATH})",
    re.IGNORECASE,
)
_READS = re.compile(r"\(|(?:SELECT|WITH|MERGE|UPDATE|DELETE)\b", re.IGNORECASE)
# sqlglot does not know Dremio's time travel and branches.
_AT = re.compile(
    r"\bAT\s+(?:BRANCH|TAG|COMMIT|REFERENCE|SNAPSHOT|TIMESTAMP)\s+(?:'[^']*'|\"[^\"]*\"|\w+)", re.IGNORECASE
)
_COMMENTS = re.compile(r"\s*(?:--[^\n]*\n|/\*.*?\*/)", re.DOTALL)
# A query begins at the first of these words that stands in no quotes.
_QUERY = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(?P<query>\b(?:WITH|SELECT)\b)""", re.IGNORECASE)


def datasets_of(sql: str, context: Sequence[str] = ()) -> tuple[list[Path], list[Path]]:
    """Paths of the datasets that a statement reads, and of those that it writes; each once, in order.

    :param sql: One statement. What cannot be parsed reads nothing: lineage must not fail a task.
    :param context: Path that names of one part are looked up in.
    """
    text = _AT.sub("", sql)
    while (comment := _COMMENTS.match(text)) is not None:
        text = text[comment.end() :]
    written = _WRITES.match(text.lstrip())
    output = _resolved(parse_path(re.sub(r"\s*\.\s*", ".", written["path"])), context) if written else None
    inputs = [_resolved(path, context) for path in _tables(_readable(text.lstrip(), written))]
    return list(dict.fromkeys(inputs)), [output] if output else []


def _readable(text: str, written: re.Match[str] | None) -> str:
    """The part of a statement that reads, in words that sqlglot knows."""
    if _READS.match(text):
        return text
    if written is None:
        return ""
    for found in _QUERY.finditer(text, written.end()):
        if found["query"]:
            query = text[found.start() :]
            # "AS ( SELECT .. )": the brackets were opened before.
            return query.rstrip(" \n\t;)") + ")" * max(0, query.count("(") - query.rstrip(" \n\t;)").count(")"))
    return ""


def _tables(sql: str) -> Iterator[Path]:
    import sqlglot
    from sqlglot import exp

    try:
        trees = [tree for tree in sqlglot.parse(sql, read="dremio") if tree is not None] if sql else []
    except sqlglot.errors.SqlglotError:
        return
    for tree in trees:
        local = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
        target = tree.this.find(exp.Table) if isinstance(tree, exp.Merge | exp.Update | exp.Delete) else None
        for table in tree.find_all(exp.Table):
            path = tuple(part.name for part in table.parts if isinstance(part, exp.Identifier))
            # A table function has no name that anything is stored under.
            if table is target or len(path) != len(table.parts) or (len(path) == 1 and path[0] in local):
                continue
            yield path


def _resolved(path: Path, context: Sequence[str]) -> Path:
    return (*context, *path) if len(path) == 1 else path


def operator_lineage(
    address: str = "", *, read: Iterable[str] = (), written: Iterable[str] = (), elsewhere: Iterable[Path] = ()
) -> OperatorLineage | None:
    """The lineage of an operator that knows its datasets; empty when nothing ran.

    :param address: Root of Dremio's REST API.
    :param read: Paths of the datasets that were read.
    :param written: Paths of the datasets that were written.
    :param elsewhere: What was written outside of Dremio, ``(namespace, name)`` each.
    :returns: None where OpenLineage's provider is not installed.
    """
    try:
        from airflow.providers.common.compat.openlineage.facet import Dataset
        from airflow.providers.openlineage.extractors import OperatorLineage
    except ImportError:
        return None
    return OperatorLineage(
        inputs=[Dataset(*dataset_name(address, path)) for path in read],
        outputs=[Dataset(*dataset_name(address, path)) for path in written] + [Dataset(*path) for path in elsewhere],
    )


def dataset_name(address: str, path: str | Path) -> tuple[str, str]:
    """A dataset's namespace and name, as dbt's integration writes them too.

    :param address: Root of Dremio's REST API.
    :param path: Path of the dataset.
    """
    return f"dremio://{address.rpartition('://')[2]}", ".".join(parse_path(path))


def lineage_of(
    finished: Sequence[tuple[str, str | None]], settings: DremioSettings, context: Sequence[str] | None = None
) -> OperatorLineage | None:
    """The lineage of finished statements.

    :param finished: Statement and, where it is known, job id of each.
    :param settings: Which Dremio.
    :param context: Path that names of one part are looked up in; by default the connection's.
    :returns: None where OpenLineage's provider is not installed.
    """
    try:
        from airflow.providers.common.compat.openlineage.facet import Dataset, ExternalQueryRunFacet, SQLJobFacet
        from airflow.providers.openlineage.extractors import OperatorLineage
    except ImportError:
        return None
    if not finished:
        return OperatorLineage()
    namespace = dataset_name(settings.address, "any")[0]
    inputs: dict[Path, Any] = {}
    outputs: dict[Path, Any] = {}
    for sql, _ in finished:
        for paths, into in zip(datasets_of(sql, context or settings.default_context), (inputs, outputs), strict=True):
            into.update({path: Dataset(namespace=namespace, name=".".join(path)) for path in paths})
    job_id = finished[-1][1]
    return OperatorLineage(
        # What an earlier statement wrote and a later one reads comes from inside.
        inputs=[dataset for path, dataset in inputs.items() if path not in outputs],
        outputs=list(outputs.values()),
        run_facets={"externalQuery": ExternalQueryRunFacet(job_id, namespace)} if job_id else {},
        job_facets={"sql": SQLJobFacet(query=";\n".join(sql for sql, _ in finished))},
    )
