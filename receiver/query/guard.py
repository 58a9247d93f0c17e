"""Which statements may run: one SELECT over the published views, judged on DuckDB's own parse tree.

The database underneath refuses files and settings by itself (`receiver.days.files.open_database`); this says so in
better words, and closes what that leaves open: several statements, catalog functions that show paths, SQL inside
strings.
"""

import re
from collections.abc import Iterator
from typing import Any

import duckdb
import orjson

from foundation.errors import SettingsError
from receiver.query.reads import Needs, kind, needs_of
from receiver.query.views import CREDIT, DATASET_TABLES, VIEWS

TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree", "repeat"})
"""Functions that may stand in FROM: they make rows from their arguments and read nothing."""

REFUSED_FUNCTIONS = frozenset(
    {
        "current_setting", "getvariable", "getenv", "json_serialize_plan", "json_execute_serialized_sql", "nextval",
        "currval", "setval", "setseed", "pg_sleep", "sleep_ms", "write_log", "which_secret", "current_query",
    }
)  # fmt: skip
"""Scalar functions that show or change the state of the server, or hide SQL in a string."""

MAX_SQL_BYTES = 100_000
MAX_SOURCES = 60
"""Tables, functions and queries within one statement. Ordering hundreds of joins takes DuckDB's planner minutes, in
which it heeds no interrupt."""

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SOURCES = frozenset({"BASE_TABLE", "TABLE_FUNCTION", "SELECT_NODE"})
CATALOG_PREFIXES = ("duckdb_", "pg_", "sqlite_", "pragma_", "hot_", "day_", "information_schema")


class QueryRefused(SettingsError):
    """A statement is not one this endpoint runs."""


def check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise `QueryRefused` unless the text is one SELECT that reads published views only."""
    nodes = list(_nodes(_parse(connection, sql)))
    local_names = {str(entry["key"]).lower() for node in nodes for entry in _ctes(node)}
    for name in local_names:
        if not IDENTIFIER.fullmatch(name) or name.startswith(CATALOG_PREFIXES):
            raise QueryRefused(f'"{name}" cannot be the name of a WITH query', hint="Choose a plain name of your own.")
    for node in nodes:
        _check_node(node, local_names)
    num_sources = sum(kind(node) in SOURCES for node in nodes)
    if num_sources > MAX_SOURCES:
        raise QueryRefused(
            f"the statement reads from {num_sources} sources; {MAX_SOURCES} are allowed", hint="Ask in several queries."
        )


def needs(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> Needs:
    """Return what a statement reads. Raises `QueryRefused` for what is no SELECT.

    Traces are known for one SELECT from one view, whose WHERE demands `trace_id = …` or `trace_id in (…)` of texts or
    parameters, alone or together with other conditions. Looking at no rows of other traces then changes no answer.

    >>> asked = needs(duckdb.connect(), "select name from spans where trace_id in ('a', ?) and name = 'x'", ["b"])
    >>> sorted(asked.views), sorted(asked.traces or ()), asked.columns["spans"], asked.conditions
    (['spans'], ['a', 'b'], ('trace_id', 'name'), ("name = 'x'",))
    >>> needs(duckdb.connect(), "select * from spans where trace_id = 'a' or name = 'x'").traces is None
    True
    """
    tree = _parse(connection, sql)
    try:
        return needs_of(tree, list(_nodes(tree)), parameters or [], frozenset(VIEWS))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise QueryRefused(f"the statement is not understood: {type(error).__name__}") from None


def _parse(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """Return DuckDB's own parse of one SELECT."""
    try:
        size_bytes = len(sql.encode())
    except UnicodeEncodeError:
        raise QueryRefused("the statement is not UTF-8 text") from None
    if size_bytes > MAX_SQL_BYTES:
        raise QueryRefused(
            f"the statement is longer than {MAX_SQL_BYTES:,} bytes", hint="Pass long lists as parameters."
        )
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryRefused(str(error)) from None
    if len(statements) != 1:
        raise QueryRefused(f"{len(statements)} statements where one is expected", hint="Send one SELECT at a time.")
    serialized = connection.execute("select json_serialize_sql(?::varchar)", [sql]).fetchall()[0][0]
    try:
        tree = orjson.loads(serialized)
    except orjson.JSONDecodeError:
        raise QueryRefused("the statement is nested too deep", hint="Ask in several queries.") from None
    if tree["error"]:
        raise QueryRefused(
            f"only a SELECT can run here: {tree['error_message']}",
            hint="Write the query as one SELECT (WITH and subqueries included).",
        )
    parsed: list[dict[str, Any]] = tree["statements"]
    return parsed


def _nodes(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any JSON
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _ctes(node: dict[str, Any]) -> list[dict[str, Any]]:
    cte_map = node.get("cte_map")
    named = [{"key": node["cte_name"]}] if node.get("cte_name") else []
    recursive = [{"key": node["ctename"]}] if node.get("ctename") else []
    return [*(cte_map["map"] if cte_map else []), *named, *recursive]


def _check_node(node: dict[str, Any], local_names: set[str]) -> None:
    match kind(node):
        case "BASE_TABLE":
            _check_table(node, local_names)
        case "TABLE_FUNCTION":
            name = str(node["function"].get("function_name", "")).lower()
            if name not in TABLE_FUNCTIONS:
                raise QueryRefused(
                    f"{name}() cannot be read from: queries see the published views, not files or the catalog",
                    hint=f"Views: {', '.join(VIEWS)}",
                )
        case "SHOW_REF":
            if node.get("query") is None:
                raise QueryRefused("SHOW is not a SELECT", hint=f"Views: {', '.join(VIEWS)}. Try: describe spans")
        case _:
            name = str(node.get("function_name", "")).lower()
            if name in REFUSED_FUNCTIONS:
                raise QueryRefused(f"{name}() is not available in queries")


def _check_table(node: dict[str, Any], local_names: set[str]) -> None:
    name = str(node["table_name"]).lower()
    qualifiers = [*node.get("qualified_name", {}).get("path", [])[:-1], node["schema_name"], node["catalog_name"]]
    if any(qualifiers) or (name not in VIEWS and name not in local_names):
        shown = ".".join([*(part for part in qualifiers if part), str(node["table_name"])])
        raise QueryRefused(f"there is no view {shown!r}", hint=f"Views: {', '.join(VIEWS)}")


def explain_missing(error: duckdb.CatalogException) -> QueryRefused:
    """Say why a known view is not there yet, or pass on what DuckDB says."""
    for table in DATASET_TABLES:
        if f"name {table} does not exist" in str(error):
            return QueryRefused(f"{table} has no rows yet", hint="The ETL makes it: spanloop etl run --data DIR")
    if f"name {CREDIT} does not exist" in str(error):
        return QueryRefused("credit has no rows yet", hint="Training makes it: spanloop train run --data DIR")
    return QueryRefused(str(error))
