"""Whether a query gives what the gold query gives: execution match as the test-suite evaluator of Spider defines it.

Zhong et al., "Semantic Evaluation for Text-to-SQL with Distilled Test Suites", 2020, with `plug_value` and
`keep_distinct` false; here on one database instead of many, so a wrong query may match by luck.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from examples.spider.database import Limits, QueryFailed, Row, run_query

TOKENS = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\w+|\s+|.""", re.DOTALL)


def execution_match(database: Path, predicted: str, gold: str, limits: Limits = Limits()) -> bool:
    """Tell whether a predicted query gives the gold query's result. A query that fails does not.

    The order of rows counts where the gold query has ORDER BY; rows that tie there must come as the gold query's do.
    Two empty results are equal, so questions whose gold result is empty tell nothing. Raises `QueryFailed` where the
    gold query itself fails.
    """
    expected = run_query(database, prepared(gold), limits)
    try:
        found = run_query(database, prepared(predicted), limits)
    except QueryFailed:
        return False
    return same_result(found, expected, order_matters=has_order(gold))


def has_order(sql: str) -> bool:
    """Tell whether a query orders rows anywhere; words in quotes do not count.

    >>> has_order("SELECT a FROM t ORDER  BY a"), has_order("SELECT 'order by' FROM t")
    (True, False)
    """
    words = [token.lower() for token in TOKENS.findall(sql) if not token.isspace()]
    return any(pair == ("order", "by") for pair in pairwise(words))


def prepared(sql: str) -> str:
    """Return a query as both sides are run: without DISTINCT, `> =` closed up, the current year fixed.

    >>> prepared("SELECT DISTINCT a FROM t WHERE b > = 'DISTINCT' AND c = YEAR(CURDATE())")
    "SELECT a FROM t WHERE b >= 'DISTINCT' AND c = 2020"
    """
    kept: list[str] = []
    for token in TOKENS.findall(sql.strip().rstrip(";")):
        before = next((word.lower() for word in reversed(kept) if not word.isspace()), "")
        if token.lower() == "distinct" and before not in ("is", "not"):  # IS [NOT] DISTINCT FROM is a comparison
            if kept and kept[-1].isspace():
                kept.pop()
        elif token == "=" and before in (">", "<", "!"):
            while kept[-1].isspace():
                kept.pop()
            kept.append(token)
        else:
            kept.append(token)
    return re.sub(r"year\s*\(\s*curdate\s*\(\s*\)\s*\)", "2020", "".join(kept), flags=re.IGNORECASE)


def same_result(found: Sequence[Row], expected: Sequence[Row], *, order_matters: bool) -> bool:
    """Tell whether two results are equal under some permutation of the columns.

    Rows are a multiset, or a sequence where order matters. Values are equal as Python has it: 1 is 1.0 and not '1',
    NULL is neither 0 nor ''.

    >>> same_result([(1, "a"), (2, "b")], [("b", 2), ("a", 1)], order_matters=False)
    True
    """
    if len(found) != len(expected):
        return False
    if not found:
        return True
    if len(found[0]) != len(expected[0]):
        return False
    columns = list(zip(*found, strict=True))
    wanted = list(zip(*expected, strict=True))

    def alike(left: Sequence[object], right: Sequence[object]) -> bool:
        return left == right if order_matters else Counter(left) == Counter(right)

    def place(chosen: tuple[int, ...]) -> bool:
        if len(chosen) == len(wanted):
            return True
        tried: list[tuple[object, ...]] = []
        for index, column in enumerate(columns):
            if index in chosen or column in tried or not alike(column, wanted[len(chosen)]):
                continue
            tried.append(column)  # of columns that are the same, one stands for all
            head = [columns[each] for each in (*chosen, index)]
            rows = list(zip(*head, strict=True))
            if alike(rows, list(zip(*wanted[: len(head)], strict=True))) and place((*chosen, index)):
                return True
        return False

    return place(())
