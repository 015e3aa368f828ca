"""ALTER TABLE .. CREATE RAW|AGGREGATE REFLECTION: the grammar, and the REST body that means the same."""

from __future__ import annotations

from typing import Any

from sandbox.dremio.errors import UnsupportedError
from sandbox.dremio.sql.statements import CreateReflection, Path, Statement
from sandbox.dremio.sql.tokens import Tokens

Json = dict[str, Any]

ALL_MEASURES = ("COUNT", "SUM", "MIN", "MAX", "APPROX_COUNT_DISTINCT")


def parse(tokens: Tokens, path: Path) -> Statement:
    """Read what follows ``ALTER TABLE path CREATE``.

    Args:
        tokens: standing behind CREATE.
        path: the dataset.

    Raises:
        ParseError: if the text does not follow the grammar.
    """
    kind = tokens.take_any("RAW", "AGGREGATE", "EXTERNAL")
    if not kind:
        raise tokens.error("RAW or AGGREGATE")
    tokens.expect("REFLECTION")
    if kind == "EXTERNAL":
        raise UnsupportedError("CREATE EXTERNAL REFLECTION")
    name = tokens.name()
    tokens.expect("USING")
    body: Json = {"type": "RAW" if kind == "RAW" else "AGGREGATION", "name": name, "enabled": True}
    if kind == "RAW":
        tokens.expect("DISPLAY")
        body["displayFields"] = [{"name": _plain(item)} for item in tokens.items()]
    else:
        if tokens.take("DIMENSIONS"):
            body["dimensionFields"] = [_dimension(item) for item in tokens.items()]
        if tokens.take("MEASURES"):
            body["measureFields"] = [_measure(item) for item in tokens.items()]
        if "dimensionFields" not in body and "measureFields" not in body:
            raise tokens.error("DIMENSIONS or MEASURES")
    _tail(tokens, body)
    return CreateReflection(path, name, body)


def _tail(tokens: Tokens, body: Json) -> None:
    if tokens.take("DISTRIBUTE", "BY"):
        body["distributionFields"] = [{"name": _plain(item)} for item in tokens.items()]
    strategy = tokens.take_any("STRIPED", "CONSOLIDATED")
    if tokens.take("PARTITION", "BY"):
        body["partitionFields"] = [_partition(item) for item in tokens.items()]
        body["partitionDistributionStrategy"] = strategy or "CONSOLIDATED"
    elif strategy:
        raise tokens.error("PARTITION BY")
    if tokens.take("LOCALSORT", "BY"):
        body["sortFields"] = [{"name": _plain(item)} for item in tokens.items()]
    if tokens.take("ARROW", "CACHE"):
        body["arrowCachingEnabled"] = True


def _plain(item: str) -> str:
    tokens = Tokens(item)
    name = tokens.name()
    tokens.finish()
    return name


def _dimension(item: str) -> Json:
    tokens = Tokens(item)
    field = {"name": tokens.name(), "granularity": "DATE" if tokens.take("BY", "DAY") else "NORMAL"}
    tokens.finish()
    return field


def _measure(item: str) -> Json:
    tokens = Tokens(item)
    name = tokens.name()
    if tokens.done:
        return {"name": name, "measureTypeList": []}
    functions = []
    for text in tokens.items():
        function = "APPROX_COUNT_DISTINCT" if text.upper().split() == ["APPROXIMATE", "COUNT", "DISTINCT"] else text
        if function.upper() not in ALL_MEASURES:
            raise Tokens(text).error(", ".join(ALL_MEASURES))
        functions.append(function.upper())
    tokens.finish()
    return {"name": name, "measureTypeList": functions}


def _partition(item: str) -> Json:
    tokens = Tokens(item)
    first = tokens.name()
    if tokens.done:
        return {"name": first, "transform": {"type": "IDENTITY"}}
    arguments = tokens.items()
    tokens.finish()
    kind = first.upper()
    transform: Json = {"type": kind}
    if kind in ("BUCKET", "TRUNCATE"):
        number = int(arguments[0])
        detail = {"bucketCount": number} if kind == "BUCKET" else {"truncateLength": number}
        transform[f"{kind.lower()}Transform"] = detail
    return {"name": _plain(arguments[-1]), "transform": transform}
