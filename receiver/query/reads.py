"""What a statement reads, as far as its parse tells: views, columns, traces, conditions; and whether it can be stopped.

Knowing that, a query is given no more rows than it can need, and is run where it can be ended. Where the parse does not
make something plain, everything is assumed.
"""

from dataclasses import dataclass, field
from typing import Any

from receiver.tables import ROWS, literal

Node = dict[str, Any]

CALM_FUNCTIONS = frozenset(
    {
        "count", "count_star", "sum", "avg", "min", "max", "min_by", "max_by", "arg_min", "arg_max", "any_value",
        "first", "last", "bool_and", "bool_or", "median", "quantile", "quantile_cont", "quantile_disc", "stddev",
        "variance", "approx_count_distinct", "count_if", "row_number", "rank", "dense_rank", "lag", "lead",
        "first_value", "last_value", "+", "-", "*", "/", "//", "%", "~~", "!~~", "~~*", "!~~*", "like_escape", "||",
        "->", "->>", "and", "or", "not", "is_null", "abs", "round", "floor", "ceil", "ceiling", "trunc", "sqrt",
        "ln", "log", "exp", "power", "pow", "greatest", "least", "coalesce", "ifnull", "nullif", "if", "lower",
        "upper", "trim", "ltrim", "rtrim", "length", "strlen", "starts_with", "ends_with", "prefix", "suffix",
        "contains", "substr", "substring", "left", "right", "split_part", "regexp_matches", "regexp_full_match",
        "regexp_extract", "concat", "hash", "md5", "json_extract", "json_extract_string", "json_extract_path",
        "json_extract_path_text", "json_exists", "json_type", "json_valid", "json_array_length", "json_keys",
        "json_contains", "epoch", "epoch_ms", "epoch_us", "epoch_ns", "to_timestamp", "make_timestamp",
        "make_timestamptz", "date_trunc", "date_part", "date_diff", "datediff", "datetrunc", "datepart", "year",
        "month", "day", "hour", "minute", "second", "strftime", "now", "current_date", "today",
        "get_current_timestamp", "age", "to_seconds", "to_minutes", "to_hours", "to_days", "time_bucket",
        "list_contains", "list_has", "array_contains", "len", "list_value", "struct_pack", "struct_extract",
        "array_extract", "unnest",
    }
)  # fmt: skip
"""Functions whose work and result on one row are bounded by that row: between two chunks DuckDB heeds an interrupt, so
a statement of these alone ends when it is told to. `repeat`, `levenshtein`, `list` and others do not let go."""

COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class Needs:
    """What a statement reads."""

    views: frozenset[str]
    """The published views it names."""

    traces: frozenset[str] | None
    """The traces beyond which it reads nothing; None when it may read any."""

    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The columns it may read of each table of the receiver, in their order; of tables not named here, all."""

    conditions: tuple[str, ...] = ()
    """SQL that every row it reads fulfils; there are some only where it reads one table once."""

    most_rows: int | None = None
    """The most rows it returns, where it says so by a LIMIT."""

    reads_once: bool = False
    """It goes through its one view once, so that rows may come as a stream."""

    is_calm: bool = False
    """It ends soon after it is interrupted, whatever the rows."""


def needs_of(tree: list[Node], nodes: list[Node], parameters: list[Any], published: frozenset[str]) -> Needs:
    """Read a statement's needs from its parse: the statements of it and all nodes within."""
    sources = [node for node in nodes if kind(node) == "BASE_TABLE"]
    views = frozenset(str(node["table_name"]).lower() for node in sources) & published
    plain = _plain_select(tree, nodes)
    table = str(plain["from_table"]["table_name"]).lower() if plain else None
    conjuncts = _conjuncts(plain) if plain else []
    found = (_traces(condition, parameters) for condition in conjuncts)
    conditions = [_condition(condition, table, parameters) for condition in conjuncts] if table in ROWS else []
    return Needs(
        views=views,
        traces=next((traces for traces in found if traces is not None), None),
        columns=_columns(nodes, sources, views),
        conditions=tuple(condition for condition in conditions if condition is not None),
        reads_once=plain is not None and table in views,
        most_rows=_limit(plain, parameters) if plain else None,
        is_calm=_is_calm(nodes),
    )


def _is_calm(nodes: list[Node]) -> bool:
    in_from = {id(node["function"]) for node in nodes if kind(node) == "TABLE_FUNCTION"}  # these make rows, not lists
    called = [node for node in nodes if "function_name" in node and id(node) not in in_from]
    return all(str(node["function_name"]).lower() in CALM_FUNCTIONS for node in called)


def kind(node: Node) -> str:
    """Return what a node of the parse is; that of a sample's size, for one, says a type where nodes say theirs."""
    found = node.get("type")
    return found if isinstance(found, str) else ""


def _plain_select(tree: list[Node], nodes: list[Node]) -> Node | None:
    """Return the statement when it is one SELECT, without others inside, from one view under its own column names."""
    select: Node = tree[0]["node"] if len(tree) == 1 else {}
    source = select.get("from_table") or {}
    is_plain = (
        kind(select) == "SELECT_NODE"
        and sum(kind(node).endswith("_NODE") for node in nodes) == 1
        and kind(source) == "BASE_TABLE"
        and not source.get("column_name_alias")
        and not source.get("sample")
    )
    return select if is_plain else None


def _conjuncts(select: Node) -> list[Node]:
    where = select.get("where_clause") or {}
    return where["children"] if kind(where) == "CONJUNCTION_AND" else [where]


def _limit(select: Node, parameters: list[Any]) -> int | None:
    limits = [one for one in select["modifiers"] if kind(one) == "LIMIT_MODIFIER" and one["limit_type"] == "ROW_COUNT"]
    most = _constant(limits[0]["limit"], parameters) if len(limits) == 1 and limits[0]["limit"] else None
    return most if isinstance(most, int) else None


def _traces(condition: Node, parameters: list[Any]) -> frozenset[str] | None:
    match kind(condition):
        case "COMPARE_EQUAL":
            sides = [condition["left"], condition["right"]]
            if _column(sides[0]) != "trace_id":
                sides.reverse()
        case "COMPARE_IN":
            sides = condition["children"]
        case _:
            return None
    if _column(sides[0]) != "trace_id":
        return None
    values = [_constant(side, parameters) for side in sides[1:]]
    return frozenset(str(value) for value in values) if all(isinstance(value, str) for value in values) else None


def _condition(condition: Node, table: str | None, parameters: list[Any]) -> str | None:
    """Return a comparison of a column with a constant, or with null, as SQL; None for everything else."""
    if kind(condition) == "OPERATOR_IS_NULL" and table is not None:
        name = _column(condition["children"][0])
        return f"{name} is null" if name in {column.name for column in ROWS[table]} else None
    sign = COMPARISONS.get(kind(condition))
    if sign is None or table is None:
        return None
    left, right = condition["left"], condition["right"]
    if _column(left) is None:
        left, right, sign = right, left, MIRRORED[sign]
    types = {column.name: column.type for column in ROWS[table]}
    name, value = _column(left), _constant(right, parameters)
    if name not in types:
        return None
    if isinstance(value, str) and types[name] == "VARCHAR":
        return f"{name} {sign} {literal(value)}"
    if isinstance(value, int) and types[name] == "BIGINT":
        return f"{name} {sign} {value}"
    return None


def _column(node: Node) -> str | None:
    return str(node["column_names"][-1]).lower() if kind(node) == "COLUMN_REF" else None


def _constant(node: Node, parameters: list[Any]) -> str | int | None:
    if kind(node) == "VALUE_CONSTANT":
        value = node.get("literal", {})
        if value.get("kind") == "STRING":
            return str(value["text"])
        text = str(value.get("text", ""))
        return int(text) if value.get("kind") == "INTEGER" and text.isdigit() and len(text) < 19 else None
    if kind(node) == "VALUE_PARAMETER" and str(node["identifier"]).isdigit():
        position = int(node["identifier"]) - 1
        given = parameters[position] if position < len(parameters) else None
        if isinstance(given, str) or (type(given) is int and abs(given) < 1 << 62):
            return given
    return None


def _columns(nodes: list[Node], sources: list[Node], views: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Return what may be read of each table: every column whose name stands anywhere in the statement."""
    names = {name.lower() for node in nodes for name in _texts(node)}
    called = {str(part).lower() for node in sources for part in (node["table_name"], node["alias"])}
    if any(_takes_all(node, called) for node in nodes):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for table in ROWS:
        every = tuple(column.name for column in ROWS[table])
        is_summed = table == "trace_parts" and "traces" in views
        found[table] = every if is_summed else tuple(name for name in every if name in names) or every[-1:]
    return found


def _takes_all(node: Node, called: set[str]) -> bool:
    """Tell whether a node may read columns it does not name: `*`, a whole row by its table's name, `#1`."""
    match kind(node):
        case "COLUMN_REF":
            return len(node["column_names"]) == 1 and str(node["column_names"][0]).lower() in called
        case "BASE_TABLE":
            return bool(node.get("column_name_alias"))
        case "STAR" | "POSITIONAL_REFERENCE" | "SHOW_REF" | "PIVOT":
            return True
        case _:
            return node.get("ref_type") not in {None, "REGULAR", "CROSS"}


def _texts(node: Node) -> list[str]:
    """Return the texts of a node, those in lists included; those of nodes within come with these."""
    texts: list[str] = []
    for value in node.values():
        texts += [value] if isinstance(value, str) else []
        texts += [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
    return texts
