"""Three agents that answer a question with SQL: one writes, one checks, one rewrites. LangGraph, any OpenAI endpoint.

    write ─▶ execute ─▶ check ─▶ END
                ▲         │ incorrect, and turns are left
                └─ rewrite ◀┘

It knows nothing of rewards, of training or of what traces it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from examples.spider.database import Limits, QueryFailed, run_query, show
from examples.spider.replies import query_of, rewritten, says_correct

WRITE = "Write one SQLite query that answers the question. Answer with the query alone."
CHECK = (
    "Does the query answer the question? Look at its result. Say briefly what is wrong, if anything is, and end with"
    " THE QUERY IS CORRECT. or THE QUERY IS INCORRECT."
)
REWRITE = "The query does not answer the question. Write a better SQLite query. Answer with the query alone."


SHOWN = Limits(instructions=5_000_000, seconds=5, rows=1000)
"""What running a query for the agents may cost."""


class State(TypedDict, total=False):
    """What the agents know of a question and its query."""

    question: str
    schema: str
    database: str
    query: str
    result: str
    verdict: str
    turns: int
    """Queries written so far."""


@dataclass(frozen=True)
class Settings:
    """How the agents ask and how often."""

    max_turns: int = 3
    """Queries written at most; with 1 nobody checks."""

    result_chars: int = 2048
    """Characters of a result that are shown."""

    max_tokens: int = 2048
    """Of one answer."""


@tool
def run_sql(database: str, query: str, max_chars: int) -> str:
    """Run a read-only SQLite query and show its first rows."""
    return show(run_query(Path(database), query, SHOWN), max_rows=20, max_chars=max_chars)


def build(model: ChatOpenAI, settings: Settings = Settings()) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph. `model` answers for all three agents."""
    agents = {
        name: create_agent(model, name=name, system_prompt=instructions)
        for name, instructions in (("write", WRITE), ("check", CHECK), ("rewrite", REWRITE))
    }

    async def ask(name: str, *parts: str) -> str:
        answer = await agents[name].ainvoke({"messages": [("user", "\n".join(parts))]})
        return str(answer["messages"][-1].text)

    async def write(state: State) -> State:
        text = await ask("write", state["schema"], f"Question: {state['question']}")
        return {"query": query_of(text, otherwise=text), "turns": 1}

    async def execute(state: State) -> State:
        arguments = {"database": state["database"], "query": state["query"], "max_chars": settings.result_chars}
        try:
            return {"result": await run_sql.ainvoke(arguments)}
        except QueryFailed as error:
            return {"result": f"Error: {error}"[: settings.result_chars]}

    async def check(state: State) -> State:
        return {"verdict": await ask("check", *_seen(state))}

    async def rewrite(state: State) -> State:
        text = await ask("rewrite", *_seen(state), f"Feedback: {state['verdict']}")
        return {"query": rewritten(text, otherwise=state["query"]), "turns": state["turns"] + 1}

    def after_execute(state: State) -> Literal["check", "__end__"]:
        return "check" if state["turns"] < settings.max_turns else END

    def after_check(state: State) -> Literal["rewrite", "__end__"]:
        return END if says_correct(state["verdict"]) else "rewrite"

    graph = StateGraph(State)
    for node in (write, execute, check, rewrite):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "write")
    graph.add_edge("write", "execute")
    graph.add_edge("rewrite", "execute")
    graph.add_conditional_edges("execute", after_execute)
    graph.add_conditional_edges("check", after_check)
    return graph.compile(name="text-to-sql")


def _seen(state: State) -> list[str]:
    return [
        state["schema"],
        f"Question: {state['question']}",
        f"Query: {state['query']}",
        f"Result: {state['result']}",
    ]
