"""What a project's key is shown on every page: its own, and no word of another's."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.web.keys import Scope, create_key
from receiver.decode.otlp import Signal, read_json
from receiver.pipeline import Pipeline
from spanloop.page.routes import ROUTES, WHOLE_DATA
from spanloop.page.traces.otlp import resource_spans
from tests.commands import spanloop
from tests.page_data import NAMES
from tests.pages import Visitor, running_page
from tests.spans import Span, identifier, llm, span

pytestmark = [pytest.mark.integration, pytest.mark.long]

PROJECTS = ("shop", "bank")
TABLES = (
    "spans", "log_records", "traces", "trace_parts", "llm_calls", "tool_calls", "rewards", "episodes", "transitions",
    "rejected",
)  # fmt: skip
ECHOES = re.compile(
    r'value="[^"]*"|href="[^"]*"|<textarea.*?</textarea>|<details class="source">.*?</details>', re.DOTALL
)
"""Where a page says again what it was asked."""


def arrived(project: str) -> list[Span]:
    """Return a trace in which every name and text holds the project's word, of now and with a score and a failure."""
    word, tool = f"{project}word", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.id": "call_1"}
    score = {
        "gen_ai.evaluation.name": word,
        "gen_ai.evaluation.score.value": 1.0,
        "gen_ai.evaluation.explanation": word,
    }
    events = [{"name": "gen_ai.evaluation.result", "time_ns": time.time_ns(), "attributes": score}]
    common = {"gen_ai.response.model": word, "user.id": word, "session.id": word}
    rows = [
        span(f"root-{project}", trace=project, end=9, events=events, attributes=common),
        llm(f"call-{project}", trace=project, parent=f"root-{project}", start=1, agent=word, said=word,
            asked=(("user", word),), attributes=common, calls=[("call_1", word, {word: word})]),
        span(f"tool-{project}", trace=project, parent=f"root-{project}", start=3, status="error", message=word,
             attributes={**tool, "gen_ai.tool.name": word}),
        llm(f"cut-{project}", trace=project, parent=f"root-{project}", start=5, agent=word, said="", attributes=common,
            asked=()),
    ]  # fmt: skip
    shift = time.time_ns() - 60 * 10**9 - rows[0]["start_ns"]
    moved = {"service_name": word, "resource": json.dumps({"service.name": word})}
    return [
        row
        | moved
        | {"start_ns": row["start_ns"] + shift, "end_ns": row["end_ns"] + shift, "name": f"{row['name']} {word}"}
        for row in rows
    ]


@pytest.fixture(scope="module")
def visitors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Visitor]]:
    data: Path = tmp_path_factory.mktemp("tenants")
    pipeline = Pipeline(data)
    for project in PROJECTS:
        request = {"resourceSpans": resource_spans([dict.fromkeys(NAMES["spans"]) | row for row in arrived(project)])}
        pipeline.submit(read_json(Signal.TRACES, json.dumps(request).encode()), project).result(10)
    pipeline.close()
    done = spanloop("etl", "run", "--data", data, "--complete-after", "0")
    assert done.returncode == 0, done.stderr
    keys = {
        project: create_key(data, name=project, project=project, scopes=[Scope.QUERY, Scope.REWARD])
        for project in PROJECTS
    }
    with running_page(data) as page:
        found = {project: Visitor(page.port) for project in PROJECTS}
        for project, visitor in found.items():
            assert visitor.log_in(keys[project]).status == 303
        yield found


def addresses(project: str, asked: str) -> list[str]:
    """Return every page and file there is, each asking for what is a project's: of its trace, by its words."""
    trace, call = identifier(asked, 32), identifier(f"call-{asked}", 16)
    words = "&".join(f"{name}={asked}word" for name in ("text", "agent"))
    fill = {"trace_id": trace, "span_id": call, "form": "csv", "checkpoint": "x"}
    found = [
        re.sub(r"\{(\w+)\}", lambda name: fill[name[1]], path)
        for method, path, _ in ROUTES
        if method == "GET" and path != "/live" and not path.startswith(WHOLE_DATA)
    ]
    return [
        *found,
        *(f"{path}?project={asked}" for path in found),
        f"/traces/{trace}/branch?of={identifier(f'root-{asked}', 16)}&project={asked}",
        f"/traces?{words}", f"/traces?service={asked}word", f"/traces?status=error&project={asked}",
        f"/traces?status=rootless&project={asked}", f"/episodes?agent={asked}word", f"/rewards?agent={asked}word",
        "/rewards?signal=reward_tool_status", f"/tools?agent={asked}word", f"/tools?tool={asked}word",
        *(f"/download/json?q=select+*+from+{table}" for table in TABLES),
        *(f"/sql?q=select+*+from+{table}+where+project+='{asked}'" for table in TABLES),
        *(f"/sql?q=select+count(*)+as+many+from+{table}" for table in TABLES),
        f"/download/csv?q=select+*+from+spans+where+trace_id='{trace}'",
    ]  # fmt: skip


@pytest.mark.parametrize(("project", "other"), [PROJECTS, PROJECTS[::-1]])
def test_no_page_and_no_file_tells_a_word_of_another_project(
    visitors: dict[str, Visitor], project: str, other: str
) -> None:
    """Asked for by its trace, its span, its names; counts and what filters offer included."""
    visitor = visitors[project]
    own = visitor.get(f"/traces/{identifier(project, 32)}")
    assert own.status == 200
    assert f"{project}word" in visitor.get("/tools").text
    assert f'<option value="{project}word">' in visitor.get("/traces").text

    for path in addresses(project, other):
        seen = visitor.get(path)
        assert seen.status in {200, 303, 400, 404}, path
        asked = ECHOES.sub("", seen.text) if seen.headers["content-type"].startswith("text/html") else seen.text
        assert f"{other}word" not in asked, path
        assert f"root-{other}" not in asked, path
        assert f'<option value="{other}word">' not in seen.text, path
    counted = {
        table: json.loads(visitor.get(f"/download/json?q=select+count(*)+as+many+from+{table}").body)[0]["many"]
        for table in ("spans", "traces", "episodes")
    }
    assert counted == {"spans": 4, "traces": 1, "episodes": 1}


def test_who_follows_is_sent_their_own(visitors: dict[str, Visitor]) -> None:
    """Also where they ask for another's."""
    for project, path in (("shop", "/live"), ("bank", "/live?project=bank")):
        following = http.client.HTTPConnection("127.0.0.1", visitors[project].port, timeout=60)
        following.request("GET", path, headers={"Cookie": visitors[project].cookie})
        events = following.getresponse()
        told = b""
        while b": here" not in told:
            told += events.readline()
        following.close()
        assert f"root-{project}".encode() in told
        assert told.count(b"event: row") == 1
    following = http.client.HTTPConnection("127.0.0.1", visitors["shop"].port, timeout=60)
    following.request("GET", "/live?project=bank", headers={"Cookie": visitors["shop"].cookie})
    events = following.getresponse()
    assert events.readline() == b": here\n"
    following.close()
