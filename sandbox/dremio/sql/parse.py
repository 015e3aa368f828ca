"""From text to statement: everything but queries and row changes is parsed here, since sqlglot passes it through."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.dremio.edition import is_enterprise
from sandbox.dremio.errors import EditionError, UnsupportedError
from sandbox.dremio.sql import access_ddl, reflection_ddl
from sandbox.dremio.sql.statements import (
    AddColumns,
    Change,
    CreateFolder,
    CreateTable,
    CreateView,
    Describe,
    Drop,
    DropColumn,
    DropReflection,
    Explain,
    ForgetMetadata,
    Path,
    Query,
    RefreshMetadata,
    RefreshReflections,
    SetAcceleration,
    SetProperties,
    Show,
    Statement,
    Truncate,
    Use,
)
from sandbox.dremio.sql.tokens import Tokens

_ROLE_HANDLER = "SYSTEM ERROR: ClassNotFoundException: com.dremio.exec.planner.sql.handlers.Role{}Handler"
_ENTERPRISE: dict[tuple[str, ...], str] = {
    **{(verb, "ROLE"): _ROLE_HANDLER.format(verb.capitalize()) for verb in ("CREATE", "DROP", "GRANT", "REVOKE")},
    **{
        words: f"{' '.join(words)} action is only supported in Enterprise Edition."
        for words in (("GRANT",), ("REVOKE",), ("CREATE", "USER"), ("ALTER", "USER"), ("DROP", "USER"))
    },
}
"""The community edition's own words: for roles it misses a class, for the rest it says so."""
_VERSIONED = ("BRANCH", "TAG", "COMMIT", "REFERENCE", "SNAPSHOT", "TIMESTAMP")


def parse(sql: str) -> Statement:
    """Return the statement that a text is.

    Args:
        sql: one statement, with or without comments and a semicolon at its end.

    Raises:
        ParseError: if the text is not Dremio's SQL.
        EditionError: if only Dremio's Enterprise Edition runs it.
        UnsupportedError: if Dremio runs it and the sandbox does not.
    """
    tokens = Tokens(sql)
    for words, refusal in _ENTERPRISE.items():
        if tokens.at(*words):
            if is_enterprise():
                return access_ddl.parse(tokens)
            raise EditionError(refusal)
    first = tokens.peek()
    assert first is not None
    parser = _PARSERS.get(first.text.upper())
    if parser is None:
        raise tokens.error("a statement")
    return parser(tokens)


def _query(tokens: Tokens) -> Statement:
    return Query(tokens.rest())


def _change(tokens: Tokens) -> Statement:
    return Change(tokens.rest())


def _explain(tokens: Tokens) -> Statement:
    tokens.expect("EXPLAIN")
    tokens.expect("PLAN")
    if tokens.take("INCLUDING") or tokens.take("EXCLUDING"):
        tokens.next()
    tokens.take_any("WITH")
    tokens.expect("FOR")
    return Explain(tokens.rest())


def _create(tokens: Tokens) -> Statement:
    tokens.expect("CREATE")
    replace = tokens.take("OR", "REPLACE")
    if tokens.take_any("VIEW", "VDS"):
        return _create_view(tokens, replace)
    if replace:
        raise tokens.error("VIEW")
    if tokens.take("TABLE"):
        return _create_table(tokens)
    if tokens.take("FOLDER"):
        if_not_exists = tokens.take("IF", "NOT", "EXISTS")
        path = tokens.path()
        tokens.finish()
        return CreateFolder(path, if_not_exists)
    for version in ("BRANCH", "TAG"):
        if tokens.at(version):
            raise EditionError(f"CREATE {version} action is not supported.")
    if tokens.at("REFLECTION"):
        raise tokens.error("TABLE, VIEW or VDS")
    word = tokens.next().text.upper()
    raise UnsupportedError(f"CREATE {word}")


def _create_view(tokens: Tokens, replace: bool) -> Statement:
    if_not_exists = tokens.take("IF", "NOT", "EXISTS")
    path = tokens.path()
    columns = tuple(_unquoted(item) for item in tokens.items()) if tokens.at("(") else ()
    _no_version(tokens)
    tokens.expect("AS")
    return CreateView(path, tokens.rest(), columns, replace, if_not_exists)


def _create_table(tokens: Tokens) -> Statement:
    if_not_exists = tokens.take("IF", "NOT", "EXISTS")
    path = tokens.path()
    columns = _columns(tokens) if tokens.at("(") else ()
    _no_version(tokens)
    partition: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    properties: dict[str, str] = {}
    while not tokens.done and not tokens.at("AS"):
        tokens.take_any("STRIPED", "HASH", "ROUNDROBIN")
        if tokens.take("PARTITION", "BY"):
            partition = tuple(tokens.items())
        elif tokens.take("DISTRIBUTE", "BY"):
            tokens.items()
        elif tokens.take("LOCALSORT", "BY") or tokens.take("CLUSTER", "BY"):
            sort = tuple(_unquoted(item) for item in tokens.items())
        elif tokens.take("TBLPROPERTIES"):
            properties = _properties(tokens)
        elif tokens.take("STORE", "AS"):
            _store_as(tokens)
        elif not tokens.take("WITH", "SINGLE", "WRITER"):
            raise tokens.error("AS")
    query = tokens.rest() if tokens.take("AS") else None
    if query is None and not columns:
        raise tokens.error("AS or a column list")
    return CreateTable(path, columns, partition, sort, properties, if_not_exists, query)


def _columns(tokens: Tokens) -> tuple[tuple[str, str], ...]:
    columns = []
    for item in tokens.items():
        inner = Tokens(item)
        name = inner.name()
        kind = "" if inner.done else inner.rest()
        for constraint in ("NOT NULL", "NULL"):
            if kind.upper().endswith(constraint):
                kind = kind[: -len(constraint)].strip()
                break
        columns.append((name, kind))
    return tuple(columns)


def _store_as(tokens: Tokens) -> None:
    for item in tokens.items():
        inner = Tokens(item)
        option = inner.name().lower()
        inner.expect("=>")
        value = inner.next().text
        if option == "type" and value.lower() not in ("parquet", "iceberg"):
            raise UnsupportedError(f"CREATE TABLE .. STORE AS (type => '{value}')")


def _properties(tokens: Tokens) -> dict[str, str]:
    properties = {}
    for item in tokens.items():
        inner = Tokens(item)
        name = inner.string()
        inner.expect("=")
        properties[name] = inner.string()
        inner.finish()
    return properties


def _unquoted(text: str) -> str:
    tokens = Tokens(text)
    name = tokens.name()
    tokens.finish()
    return name


def _no_version(tokens: Tokens) -> None:
    if tokens.at("AT") and (token := tokens.peek(1)) and token.text.upper() in _VERSIONED:
        raise UnsupportedError(f"AT {token.text.upper()} (versioned sources and time travel)")


def _drop(tokens: Tokens) -> Statement:
    tokens.expect("DROP")
    kind = tokens.take_any("TABLE", "VIEW", "VDS", "FOLDER")
    if not kind:
        raise tokens.error("TABLE, VIEW, VDS or FOLDER")
    if_exists = tokens.take("IF", "EXISTS")
    path = tokens.path()
    _no_version(tokens)
    tokens.finish()
    return Drop("VIEW" if kind == "VDS" else kind, path, if_exists)


def _truncate(tokens: Tokens) -> Statement:
    tokens.expect("TRUNCATE")
    tokens.take("TABLE")
    if_exists = tokens.take("IF", "EXISTS")
    path = tokens.path()
    tokens.finish()
    return Truncate(path, if_exists)


def _alter(tokens: Tokens) -> Statement:
    tokens.expect("ALTER")
    kind = tokens.take_any("TABLE", "VIEW", "VDS", "PDS", "DATASET")
    if not kind:
        word = tokens.next().text.upper()
        if word == "REFLECTION":
            raise tokens.error()
        raise UnsupportedError(f"ALTER {word}")
    path = tokens.path()
    _no_version(tokens)
    for words, action in _ALTERATIONS:
        if tokens.take(*words):
            statement = action(tokens, path)
            tokens.finish()
            return statement
    raise tokens.error()


def _refresh(tokens: Tokens, path: Path) -> Statement:
    partitions, files = _part(tokens)
    promotion, force, delete = True, False, True
    while not tokens.done:
        if tokens.take("AUTO", "PROMOTION"):
            promotion = True
        elif tokens.take("AVOID", "PROMOTION"):
            promotion = False
        elif tokens.take("FORCE", "UPDATE"):
            force = True
        elif tokens.take("DELETE", "WHEN", "MISSING"):
            delete = True
        elif tokens.take("MAINTAIN", "WHEN", "MISSING"):
            delete = False
        else:
            tokens.expect("LAZY", "UPDATE")
    return RefreshMetadata(path, promotion, delete, force, partitions, files)


def _part(tokens: Tokens) -> tuple[dict[str, str], tuple[str, ...]]:
    """Read ``FOR PARTITIONS (dir0 = 'a')``, ``FOR FILES ('a.parquet')`` or ``FOR ALL ..``; nothing means all."""
    partitions: dict[str, str] = {}
    files: tuple[str, ...] = ()
    if tokens.take("FOR", "PARTITIONS"):
        for item in tokens.items():
            inner = Tokens(item)
            name = inner.name()
            inner.expect("=")
            partitions[name] = inner.string()
            inner.finish()
    elif tokens.take("FOR", "FILES"):
        files = tuple(Tokens(item).string() for item in tokens.items())
    elif tokens.take("FOR", "ALL") and not tokens.take_any("FILES", "PARTITIONS"):
        raise tokens.error("FILES or PARTITIONS")
    return partitions, files


def _forget(_: Tokens, path: Path) -> Statement:
    return ForgetMetadata(path)


def _add_columns(tokens: Tokens, path: Path) -> Statement:
    return AddColumns(path, _columns(tokens))


def _drop_column(tokens: Tokens, path: Path) -> Statement:
    return DropColumn(path, tokens.name())


def _set_properties(tokens: Tokens, path: Path) -> Statement:
    return SetProperties(path, _properties(tokens))


def _set_option(tokens: Tokens, path: Path) -> Statement:
    name = tokens.name()
    tokens.expect("=")
    return SetProperties(path, {name.lower(): tokens.next().text})


def _drop_reflection(tokens: Tokens, path: Path) -> Statement:
    return DropReflection(path, tokens.name())


def _refresh_reflections(_: Tokens, path: Path) -> Statement:
    return RefreshReflections(path)


def _refuse_route(_: Tokens, __: Path) -> Statement:
    raise EditionError("This command is not supported in this edition of Dremio.")


def _acceleration(enabled: bool) -> Callable[[Tokens, Path], Statement]:
    def parsed(tokens: Tokens, path: Path) -> Statement:
        kind = tokens.take_any("RAW", "AGGREGATE")
        tokens.expect("ACCELERATION")
        return SetAcceleration(path, "AGGREGATION" if kind == "AGGREGATE" else kind, enabled)

    return parsed


_ALTERATIONS: tuple[tuple[tuple[str, ...], Callable[[Tokens, Path], Statement]], ...] = (
    (("REFRESH", "METADATA"), _refresh),
    (("FORGET", "METADATA"), _forget),
    (("ADD", "COLUMNS"), _add_columns),
    (("DROP", "COLUMN"), _drop_column),
    (("SET", "TBLPROPERTIES"), _set_properties),
    (("SET",), _set_option),
    (("CREATE",), reflection_ddl.parse),
    (("DROP", "REFLECTION"), _drop_reflection),
    (("REFRESH", "REFLECTIONS"), _refresh_reflections),
    (("ROUTE",), _refuse_route),
    (("ENABLE",), _acceleration(True)),
    (("DISABLE",), _acceleration(False)),
)


def _show(tokens: Tokens) -> Statement:
    tokens.expect("SHOW")
    what = tokens.take_any("SCHEMAS", "DATABASES", "TABLES", "VIEWS")
    if not what:
        raise tokens.error("SCHEMAS, TABLES or VIEWS")
    path = tokens.path() if tokens.take("FROM") or tokens.take("IN") else ()
    pattern = tokens.string() if tokens.take("LIKE") else ""
    tokens.finish()
    return Show("SCHEMAS" if what == "DATABASES" else what, path, pattern)


def _describe(tokens: Tokens) -> Statement:
    tokens.next()
    tokens.take("TABLE")
    path = tokens.path()
    tokens.finish()
    return Describe(path)


def _use(tokens: Tokens) -> Statement:
    tokens.expect("USE")
    path = tokens.path()
    tokens.finish()
    return Use(path)


def _unsupported(tokens: Tokens) -> Statement:
    raise UnsupportedError(f"The statement {tokens.next().text.upper()}")


_PARSERS: dict[str, Callable[[Tokens], Statement]] = {
    "SELECT": _query,
    "WITH": _query,
    "VALUES": _query,
    "(": _query,
    "EXPLAIN": _explain,
    "CREATE": _create,
    "DROP": _drop,
    "ALTER": _alter,
    "TRUNCATE": _truncate,
    "INSERT": _change,
    "UPDATE": _change,
    "DELETE": _change,
    "MERGE": _change,
    "SHOW": _show,
    "DESCRIBE": _describe,
    "DESC": _describe,
    "USE": _use,
    "COPY": _unsupported,
    "OPTIMIZE": _unsupported,
    "VACUUM": _unsupported,
    "ROLLBACK": _unsupported,
    "SET": _unsupported,
    "RESET": _unsupported,
    "CALL": _unsupported,
    "ANALYZE": _unsupported,
}
