"""A visit whose questions are answered from tables in memory."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import duckdb

from spanloop.page.questions import Answer, Question
from spanloop.page.visit import Visit

Part = tuple[str, int, int | None, int | None]
"""A trace, where a part of it begins, where its root does, where its first error does."""


class Asked:
    """Answers from an in-memory database, and keeps what was asked."""

    def __init__(self, parts: Iterable[Part] = (), calls: Iterable[tuple[str, int, str]] = ()) -> None:
        self.database = duckdb.connect()
        self.questions: list[str] = []
        self.database.execute("""
            create table trace_parts (
                project varchar, trace_id varchar, start_ns bigint, end_ns bigint, root_ns bigint, root_end_ns bigint,
                error_ns bigint, root_name varchar, root_service_name varchar, first_name varchar,
                first_service_name varchar, num_spans bigint, num_errors bigint
            )
        """)
        rows = [
            (*("p", trace, start, start + 5, root, None if root is None else root + 5, error), *(trace, "shop") * 2, 1,
             int(error is not None))
            for trace, start, root, error in parts
        ]  # fmt: skip
        self._insert("trace_parts", rows)
        self.database.execute("""
            create table llm_calls (
                project varchar, trace_id varchar, start_ns bigint, agent varchar, model_returned varchar,
                model_requested varchar, policy_version varchar, input varchar, output varchar
            )
        """)
        self._insert("llm_calls", [("p", trace, at, "a", "m", None, None, text, "[]") for trace, at, text in calls])
        self.database.execute("""
            create table transitions (
                project varchar, trace_id varchar, start_ns bigint, agent varchar, behavior_model varchar,
                policy_version varchar, evidence varchar, outcome double, reward double
            )
        """)

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            marks = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
            self.database.execute(f"insert into {table} values {marks}", [value for row in rows for value in row])

    async def ask(self, sql: str, *values: Any) -> Answer:
        """Answer a question; one that cannot be is a problem."""
        question = Question(sql, values)
        self.questions.append(sql)
        try:
            result = self.database.execute(sql, list(values))
        except duckdb.Error as error:
            return Answer(question, problem=str(error))
        names = [column[0] for column in result.description or ()]
        return Answer(question, [dict(zip(names, row, strict=True)) for row in result.fetchall()])

    @property
    def visit(self) -> Visit:
        """It, as what the page takes."""
        return cast("Visit", self)
