"""The page over real files and a real receiver: who sees what, and what a browser is told."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.keys import Scope, create_key
from receiver.decode.otlp import Signal, read_protobuf
from receiver.pipeline import Pipeline
from spanloop.page import server
from spanloop.page.settings import PageConfig
from spanloop.page.views.sql import saved_queries
from tests.export_requests import span, traces
from tests.integration.receiver.processes import running
from tests.pages import Visitor, running_page

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


def test_an_open_address_needs_keys_and_encryption(tmp_path: Path) -> None:
    """Before it is listened on."""
    for settings, why in ((PageConfig(data=tmp_path, listen="0.0.0.0:8317"), "anyone there could read prompts"),):
        with pytest.raises(SettingsError, match=why):
            server.check_reachable(settings)
    create_key(tmp_path, name="a", project="a", scopes=[Scope.QUERY])
    with pytest.raises(SettingsError, match="in the clear"):
        server.check_reachable(PageConfig(data=tmp_path, listen="0.0.0.0:8317"))
    server.check_reachable(PageConfig(data=tmp_path, listen="0.0.0.0:8317", plaintext=True))
    server.check_reachable(PageConfig(data=tmp_path, listen="[::1]:8317"))


def test_the_queries_to_begin_from_are_those_of_the_docs() -> None:
    """All of them, word for word."""
    docs = (Path(__file__).parents[3] / "docs" / "queries.md").read_text()

    assert len(saved_queries()) > 20
    assert [title for title, text in saved_queries() if title not in docs or text not in docs] == []
