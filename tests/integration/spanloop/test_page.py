"""The page over real files and a real receiver: who sees what, and what a browser is told."""

import asyncio
import base64
import contextlib
import html
import http.client
import io
import json
import re
import socket
import ssl
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import SettingsError
from foundation.web.keys import Scope, create_key
from receiver.decode.otlp import Signal, read_protobuf
from receiver.pipeline import Pipeline
from serve.prompts.registry import require
from spanloop.page import facts, server
from spanloop.page.routes import ROUTES
from spanloop.page.settings import PageConfig
from spanloop.page.views.sql import saved_queries
from spanloop.processes import free_port
from tests import page_data
from tests.certificates import certificates
from tests.commands import spanloop
from tests.export_requests import span, traces
from tests.integration.receiver.processes import running
from tests.pages import Seen, Visitor, running_page
from tests.scale import times
from tests.spans import identifier

pytestmark = pytest.mark.integration


def store(data: Path, **names: str) -> None:
    """Store one span a project."""
    pipeline = Pipeline(data)
    for number, (project, name) in enumerate(names.items(), 1):
        body = traces(span(number, name=name)).SerializeToString()
        pipeline.submit(read_protobuf(Signal.TRACES, body), project).result(10)
    pipeline.close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    data = tmp_path_factory.mktemp("page")
    store(data, shop="of-the-shop", bank="of-the-bank")
    scopes = {"shop": [Scope.QUERY], "bank": [Scope.QUERY, Scope.REWARD], "admin": [Scope.ADMIN]}
    return data, {name: create_key(data, name=name, project=name, scopes=given) for name, given in scopes.items()}


@pytest.fixture(scope="module")
def page(keys: tuple[Path, dict[str, str]]) -> Iterator[Visitor]:
    with running_page(keys[0]) as visitor:
        yield visitor


NAMES = "/sql?q=select+name+from+spans+order+by+name"


@pytest.mark.parametrize("has_receiver", [False, True])
def test_a_project_sees_its_own(keys: tuple[Path, dict[str, str]], page: Visitor, *, has_receiver: bool) -> None:
    """From the files and through a receiver; and what belongs to no project is the admin's."""
    data, texts = keys
    receiver = running(data) if has_receiver else None
    if receiver:
        receiver.__enter__()
    try:
        for name, own in (("shop", ["of-the-shop"]), ("admin", ["of-the-bank", "of-the-shop"])):
            visitor = Visitor(page.port)
            assert visitor.log_in(texts[name]).status == 303
            shown = visitor.get(NAMES).words
            assert [span for span in ("of-the-bank", "of-the-shop") if span in shown] == own
            taken = visitor.get("/download/json?q=select+name+from+spans+order+by+name").body
            assert [row["name"] for row in json.loads(taken)] == own
            assert visitor.get("/").status == 200
    finally:
        if receiver:
            receiver.__exit__(None, None, None)


def test_nobody_without_a_key_sees_anything(page: Visitor, keys: tuple[Path, dict[str, str]]) -> None:
    """The way in is the login, which leads on to what was asked for and nowhere else."""
    stranger = Visitor(page.port)

    assert stranger.get(NAMES).headers["location"].startswith("/login?to=%2Fsql")
    assert stranger.get("/download/csv?q=select+1").status == 303
    assert stranger.log_in("sl_0_0").status == 403
    away = stranger.post("/login", {"key": keys[1]["shop"], "to": "//evil.example"}, Origin=stranger.url)
    assert away.headers["location"] == "/"
    assert "HttpOnly" in away.headers["set-cookie"]
    assert "SameSite=Strict" in away.headers["set-cookie"]
    assert stranger.submit("/", "/logout").headers["location"] == "/login"
    assert stranger.get("/").status == 303


def test_every_answer_binds_the_browser(page: Visitor) -> None:
    """Refusals, files and errors included."""
    for path in ("/", "/login", "/nowhere", "/static/page.css", "/static/../server.py"):
        seen = page.get(path)
        assert seen.headers["content-security-policy"].startswith("default-src 'self'"), path
        assert seen.headers["x-content-type-options"] == "nosniff"
    assert page.get("/login", Origin="https://evil.example").status == 403


def test_forms_without_their_token_do_nothing(keys: tuple[Path, dict[str, str]], page: Visitor) -> None:
    """Whoever made the browser send them."""
    visitor = Visitor(page.port)
    visitor.log_in(keys[1]["admin"])

    assert visitor.post("/logout", {"form_token": "0" * 64}).status == 403
    assert visitor.get("/").status == 200


def test_statements_are_bounded_and_refused_with_the_way_out(keys: tuple[Path, dict[str, str]], page: Visitor) -> None:
    """As `spanloop sql` says it."""
    visitor = Visitor(page.port)
    visitor.log_in(keys[1]["shop"])

    assert "cannot be read from" in visitor.get("/sql?q=select+*+from+read_csv('/etc/passwd')").words
    assert "The ETL makes it" in visitor.get("/sql?q=select+*+from+transitions").words
    assert visitor.get("/download/parquet?q=drop+table+spans").status == 400
    assert visitor.get("/download/xlsx?q=select+1").status == 404
    assert visitor.get("/download/parquet?q=select+1+as+one").body[:4] == b"PAR1"


def test_over_tls_nothing_is_told_in_the_clear(keys: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """The cookie of a login is sent back over TLS alone, and who comes without is not understood."""
    cert, key = certificates(tmp_path)
    port = free_port()
    trusted = ssl.create_default_context(cafile=cert)

    def log_in() -> str:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=trusted)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://127.0.0.1:{port}"}
        with contextlib.closing(connection):
            connection.request("POST", "/login", urlencode({"key": keys[1]["shop"], "to": "/"}), headers)
            return str(connection.getresponse().headers["Set-Cookie"])

    async def scenario() -> str:
        config = PageConfig(data=keys[0], listen=f"127.0.0.1:{port}", tls_cert=cert, tls_key=key)
        serving = asyncio.create_task(server.serve(config))
        while not await asyncio.to_thread(listens, port):
            assert not serving.done()
        with pytest.raises((http.client.HTTPException, OSError)):
            await asyncio.to_thread(Visitor(port).get, "/login")
        cookie = await asyncio.to_thread(log_in)
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        return cookie

    cookie = asyncio.run(scenario())
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_wide_address_needs_keys_and_encryption(tmp_path: Path) -> None:
    """Before it is listened on."""
    wide = PageConfig(data=tmp_path, listen="0.0.0.0:8317")
    with pytest.raises(SettingsError, match="anyone there could read prompts"):
        server.check_address(wide)
    create_key(tmp_path, name="a", project="a", scopes=[Scope.QUERY])
    with pytest.raises(SettingsError, match="in the clear"):
        server.check_address(wide)
    server.check_address(wide.model_copy(update={"plaintext": True}))
    server.check_address(PageConfig(data=tmp_path, listen="[::1]:8317"))


def test_the_queries_to_begin_from_are_those_of_the_docs() -> None:
    """All of them, word for word."""
    docs = (Path(__file__).parents[3] / "docs" / "queries.md").read_text()

    assert len(saved_queries()) > 20
    assert [title for title, text in saved_queries() if title not in docs or text not in docs] == []


# --- over made data, on the files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_data.make(tmp_path_factory.mktemp("made") / "data")


@pytest.fixture(scope="module")
def reader(made: Path) -> Iterator[Visitor]:
    with running_page(made) as visitor:
        visitor.get("/login")
        yield visitor


def ids(seen: Seen) -> list[str]:
    return re.findall(r'<tr data-id="([0-9a-f]{32})"', seen.text)


def pages_of(reader: Visitor, path: str) -> list[str]:
    """Return the ids of a list, page after page."""
    found: list[str] = []
    for _ in range(20):
        seen = reader.get(path)
        assert seen.status == 200
        found += ids(seen)
        older = re.search(r'href="([^"]+)" rel="next"', seen.text)
        if older is None:
            return found
        path = html.unescape(older[1])
    raise AssertionError("the list has no end")


def traces_where(wanted: Callable[[int], bool]) -> set[str]:
    return {identifier(f"plain-{number}", 32) for number in range(page_data.NUM_PLAIN) if wanted(number)}


@pytest.mark.long
@pytest.mark.parametrize(
    ("query", "wanted", "has_hostile"),
    [
        ("", lambda number: bool(number % 10), True),
        ("status=error", lambda number: number % 3 == 0, True),
        ("status=ok", lambda number: bool(number % 3 and number % 10), False),
        ("status=rootless", lambda number: number % 10 == 0, False),
        ("service=shop", lambda number: bool(number % 10 and number % 2 == 0), False),
        ("agent=agent-1", lambda number: number % 3 == 1, False),
        ("agent=agent-1&status=ok", lambda number: number % 3 == 1, False),
        ("text=QUESTION+6", lambda number: str(number).startswith("6"), False),
        ("outcome_from=0.2&outcome_to=0.3", lambda _: False, True),
        ("evidence=A", lambda _: False, False),
        ("model=nobody", lambda _: False, False),
        ("since=2026-09-21T14:13&until=2026-09-21T14:14", lambda number: bool(number // 4 == 0 and number % 10), True),
    ],
)
def test_a_list_holds_what_is_wanted_once_page_after_page(
    reader: Visitor, query: str, wanted: Callable[[int], bool], has_hostile: bool
) -> None:
    """Newest first, also where many began at one instant."""
    found = pages_of(reader, f"/traces?{query}")

    assert len(found) == len(set(found))
    assert set(found) - {page_data.TRACE} == traces_where(wanted)
    assert (page_data.TRACE in found) is has_hostile


def test_a_call_says_why_it_was_pushed_down(reader: Visitor) -> None:
    """In a sentence, with its parts, its score, its conversation and its route."""
    seen = reader.get(f"/traces/{page_data.TRACE}?span={identifier('first', 16)}")

    assert "Pushed down by" in seen.words
    assert "(loss cispo, advantage -0.350): what came of it (0.25) was less than could be expected" in seen.words
    assert "What the model was shown" in seen.words
    assert seen.text.count('class="message ') >= 3


def test_what_was_sent_is_text_wherever_it_stands(reader: Visitor) -> None:
    """No markup of a span, a checkpoint or a night is ever the page's."""
    trace = f"/traces/{page_data.TRACE}"
    spans = [identifier(name, 16) for name in ("root", "first", "tool", "second")]
    details = [f"{trace}/spans/{span_id}" for span_id in spans] + [f"{trace}?span={span_id}" for span_id in spans]
    for path in (
        "/",
        "/traces",
        *details,
        f"{trace}/branch?of={spans[0]}",
        "/prompts",
        "/replay",
        "/runs",
        "/checkpoints",
        "/tools",
        "/rewards",
        "/episodes",
        f"/training/{quote(page_data.HOSTILE_NAME)}",
        f"/sql?q=select+*+from+spans+where+trace_id='{page_data.TRACE}'",
    ):
        seen = reader.get(path)
        assert seen.status == 200, path
        assert "<script>window" not in seen.text, path
        assert "<img src=x" not in seen.text, path
        assert "&lt;script&gt;" in seen.text, path


@pytest.mark.long
def test_a_trace_taken_away_is_the_one_that_arrived(reader: Visitor, made: Path, tmp_path: Path) -> None:
    """Imported elsewhere, every column that was sent is the same; a fixture holds what the ETL makes of it."""
    (tmp_path / "a.json").write_bytes(reader.get(f"/traces/{page_data.TRACE}/otlp.json").body)
    assert spanloop("receiver", "import", "--data", tmp_path / "data", tmp_path / "a.json").returncode == 0
    own = f"where trace_id = '{page_data.TRACE}' order by span_id"
    for sql, count in (
        (f"select * exclude (received_time, received_seq) from spans {own}", 4),
        ("select * exclude (received_time, received_seq, record_index) from log_records order by time_ns", 2),
    ):
        before, after = (
            json.loads(spanloop("sql", "--data", data, "--format", "json", sql).stdout)
            for data in (made, tmp_path / "data")
        )
        assert before == after
        assert len(after) == count
    with zipfile.ZipFile(io.BytesIO(reader.get(f"/traces/{page_data.TRACE}/fixture.zip").body)) as archive:
        names = archive.namelist()
        expected = json.loads(archive.read(next(name for name in names if name.endswith("expected.json"))))
    assert [statement["equals"]["outcome"] for statement in expected["expect"]] == [0.25, 0.25]


def test_a_picture_is_sent_as_one_and_nothing_else(reader: Visitor) -> None:
    """By an address of its own, in a sandbox; the call's page shows it."""
    trace = f"/traces/{identifier(f'plain-{page_data.PICTURED}', 32)}"
    shown = reader.get(f"{trace}/spans/{identifier(f'call-{page_data.PICTURED}', 16)}")
    (address,) = re.findall(r'<img src="([^"]+)"', shown.text)
    seen = reader.get(html.unescape(address))

    assert (seen.status, seen.headers["content-type"]) == (200, "image/png")
    assert seen.body == base64.b64decode(page_data.PIXEL)
    assert "sandbox" in seen.headers["content-security-policy"]
    assert reader.get(html.unescape(address).replace("n=0", "n=1")).status == 404


def test_what_is_not_there_is_said(reader: Visitor) -> None:
    """With the status that means it."""
    for path in (
        f"/traces/{'0' * 32}", "/traces/x", f"/traces/{page_data.TRACE}/spans/0",
        f"/traces/{page_data.TRACE}/branch?of=0",
        f"/traces/{'0' * 32}/otlp.json", f"/traces/{page_data.TRACE}/spans/0/picture", "/nowhere",
    ):  # fmt: skip
        assert reader.get(path).status == 404, path


@pytest.mark.long
def test_a_reward_needs_a_receiver(reader: Visitor) -> None:
    """And says how to start one."""
    trace = f"/traces/{page_data.TRACE}"
    refused = reader.submit(trace, f"{trace}/reward", {"name": "outcome", "value": "1"})

    assert refused.status == 503
    assert "spanloop receiver run" in refused.words
    assert reader.submit(trace, f"{trace}/reward", {"name": "outcome", "value": "x"}).status == 400


@pytest.mark.long
def test_pages_of_panels_answer_their_questions(reader: Visitor) -> None:
    """Which tool fails most for an agent and what it cost; how attempts end; how signals are distributed."""
    tools = reader.get("/tools")
    assert "Tools, those that fail most first" in tools.words
    assert "share failed" in tools.words
    assert page_data.HOSTILE not in tools.text
    assert "0.25" in reader.get("/episodes").words
    signal = reader.get("/rewards?signal=reward_outcome").words
    assert "Distribution of reward_outcome" in signal
    for path in ("/tools?agent=nobody", "/episodes?agent=nobody", "/rewards?signal=drop&agent=nobody"):
        assert reader.get(path).status == 200, path


def test_a_night_reconciles_and_says_why_it_was_refused(reader: Visitor) -> None:
    """As do the checkpoint it made and its training, whose curves can be fetched whole."""
    nights, checkpoints = reader.get("/runs").words, reader.get("/checkpoints")

    assert "Refused: worse than what it is compared with" in nights
    assert nights.count("yes") == 6
    assert "Refused: worse than what it is compared with" in checkpoints.words
    id_ = reader.get("/training").headers["location"].rpartition("/")[2]
    first, second = sorted(set(re.findall(r'href="/training/(2[^"]+)"', checkpoints.text)))
    training = reader.get(f"/training/{first}?with={second}")
    assert id_ in (first, second)
    assert training.text.count("line line-1") > 5, "another run's curves lie over this one's"
    series = json.loads(reader.get(f"/training/{first}/series?metric=loss&with={second}").body)["series"]
    assert {run: len(points) for run, points in series.items()} == {first: 30, second: 30}
    assert reader.get("/training/nobody").status == 404


def test_a_replay_says_where_the_candidate_lost_most(reader: Visitor) -> None:
    """With its verdict, both sides, and the way to each state."""
    seen = reader.get("/replay")

    assert "Refused: worse" in seen.words
    assert "score 0.8 in [0.7, 0.9] 0.5 in [0.4, 0.6]" in seen.words
    first, _ = re.findall(r'<a href="(/traces/[^"]+)">', seen.text)
    assert reader.get(html.unescape(first)).status == 200


def test_a_prompt_is_shown_with_what_changed_and_what_it_was_measured_at(reader: Visitor) -> None:
    """Each version against the one it was made from; what does not exist cannot be asked for."""
    seen = reader.get("/prompts")

    assert "Version 1 live" in seen.words
    assert "Version 2 from version 1, by file" in seen.words
    assert '<span class="plus">+Be brief.</span>' in seen.text
    assert "Promote" in seen.words
    for form, status in (
        ({"agent": "nobody", "version": "1"}, 400),
        ({"agent": page_data.PROMPTED, "version": "7"}, 400),
    ):
        assert reader.submit("/prompts", "/prompts/promote", form).status == status
    assert reader.submit("/prompts", "/prompts/drop").status == 404


@pytest.mark.long
def test_a_prompt_is_promoted_by_the_command_and_on_record(reader: Visitor, made: Path) -> None:
    """Whatever the agent is called."""
    form = {"agent": page_data.PROMPTED, "version": "2"}
    assert reader.submit("/prompts", "/prompts/promote", form).status == 303
    assert require(made, page_data.PROMPTED).live == 2
    assert reader.submit("/prompts", "/prompts/rollback", form).status == 303
    assert require(made, page_data.PROMPTED).live == 1
    assert facts.acts(made)[0]["checkpoint"] == f"{page_data.PROMPTED}/2"


@pytest.mark.long
def test_changes_are_the_commands_and_on_record(reader: Visitor, made: Path) -> None:
    """A refused one too; who asked stands there before anything is done."""
    refused = next(path for path in (made / "checkpoints").iterdir() if not (path / "config.json").exists())

    answer = reader.submit("/checkpoints", "/checkpoints/promote", {"checkpoint": refused.name})
    assert answer.status == 400
    assert "promote was refused" in answer.words
    assert reader.submit("/checkpoints", "/checkpoints/rollback").status == 303
    assert reader.submit("/checkpoints", "/checkpoints/promote", {"checkpoint": "../../etc"}).status == 400
    assert reader.submit("/checkpoints", "/checkpoints/drop").status == 404

    own = [act for act in facts.acts(made) if not act["checkpoint"].startswith(page_data.PROMPTED)]
    states = [(act["action"], act["state"].partition(":")[0]) for act in own]
    assert states == [("rollback", "done"), ("rollback", "asked"), ("promote", "refused"), ("promote", "asked")]
    assert facts.changes(made)[0]["action"] == "rollback"


def test_a_project_reaches_no_nights_and_changes_nothing(page: Visitor, keys: tuple[Path, dict[str, str]]) -> None:
    """What belongs to no one project needs `admin`; a reward needs its own scope."""
    visitor = Visitor(page.port)
    visitor.log_in(keys[1]["shop"])

    for path in ("/runs", "/training", "/training/x", "/checkpoints", "/checkpoints/compare", "/prompts", "/replay"):
        assert visitor.get(path).status == 403, path
    assert visitor.submit("/", "/prompts/rollback").status == 403
    assert visitor.submit("/", "/checkpoints/rollback").status == 403
    assert visitor.submit("/", f"/traces/{page_data.TRACE}/reward", {"name": "a", "value": "1"}).status == 403


ODD = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "-1",
        "nan",
        "1e999",
        "9" * 40,
        "'",
        "a' or 1=1 --",
        "%",
        "?",
        "{{7*7}}",
        "../..",
        page_data.TRACE,
        "\0",
        "2026-13-45",
    ]
)
PLACES = st.sampled_from([route for method, route, _ in ROUTES if method == "GET" and route != "/live"])
NAMES_OF = st.sampled_from(
    ["q", "service", "agent", "model", "status", "evidence", "outcome_from", "text", "since", "until", "before", "span",
     "under", "from", "part", "project", "of", "signal", "tool", "with", "metric", "n", "run", "said", "all", "rest",
     "name"]
)  # fmt: skip


@pytest.mark.long
@settings(max_examples=times(short=25, long=1000))
@given(place=PLACES, parts=st.lists(ODD, min_size=3, max_size=3), query=st.dictionaries(NAMES_OF, ODD, max_size=4))
def test_no_address_is_an_error_of_ours(reader: Visitor, place: str, parts: list[str], query: dict[str, str]) -> None:
    """Whatever stands in it: an answer, a refusal with its reason, or nothing there."""
    named = iter(parts)
    path = re.sub(r"\{\w+\}", lambda _: quote(next(named) or "x", safe=""), place)

    assert reader.get(f"{path}?{urlencode(query)}").status in {200, 303, 400, 404, 503}


@pytest.mark.long
def test_empty_pages_name_the_next_command(tmp_path: Path) -> None:
    """A newcomer's first look, before anything arrived."""
    with running_page(tmp_path / "nothing") as visitor:
        for _, path, _ in (
            route for route in ROUTES if route[0] == "GET" and "{" not in route[1] and route[1] != "/live"
        ):
            assert visitor.get(path).status in {200, 303}, path
        assert "spanloop receiver run" in visitor.get("/").words
        assert "spanloop nightly" in visitor.get("/runs").words


@pytest.mark.long
def test_what_arrives_is_followed_and_judged(tmp_path: Path) -> None:
    """A trace that arrives is shown to whoever follows, within seconds; a reward given to it is the receiver's."""
    trace_id = "ab" * 16
    now = time.time_ns()
    request = traces(
        span(1, name="just-now", trace_id=bytes.fromhex(trace_id), start_time_unix_nano=now, end_time_unix_nano=now + 5)
    )
    with running(tmp_path / "data") as receiver, running_page(tmp_path / "data") as visitor:
        following = http.client.HTTPConnection("127.0.0.1", visitor.port, timeout=60)
        following.request("GET", "/live")
        events = following.getresponse()
        assert events.headers["Content-Type"] == "text/event-stream"
        sent = urllib.request.Request(
            f"{receiver.http}/v1/traces", request.SerializeToString(), {"Content-Type": "application/x-protobuf"}
        )
        urllib.request.urlopen(sent, timeout=30).close()

        told = next(line for line in events if b"just-now" in line)
        following.close()
        assert trace_id.encode() in told

        given = visitor.submit(f"/traces/{trace_id}", f"/traces/{trace_id}/reward", {"name": "outcome", "value": "0.5"})
        assert given.status == 303, given.words
        scores = visitor.get("/download/json?q=select+attributes+from+log_records").text
        assert "0.5" in scores
        assert "spans/s" in visitor.get("/").words
