"""What a trace is taken away as is whole, or is said not to be."""

import io
import json
import zipfile
from typing import Any

import pytest

from foundation.errors import SpanloopError
from spanloop.page.traces import taking
from spanloop.page.visit import NotThere
from tests.spans import Span, identifier, span
from tests.unit.spanloop.page.visiting import Tables, see

ID = identifier("t", 32)


def otlp(tables: Tables, id_: str = ID, query: str = "") -> Any:
    seen = see(taking.otlp, f"/traces/{id_}/otlp.json{query}", route="/traces/{trace_id}/otlp.json", tables=tables)
    return json.loads(seen.body)


def names(request: Any, part: str = "resourceSpans") -> list[str]:
    scopes = [scope for group in request[part] for scope in group["scopeSpans"]]
    return [each["name"] for scope in scopes for each in scope["spans"]]


def spans(count: int) -> list[Span]:
    return [span(f"s{number}", start=number) for number in range(count)]


@pytest.mark.parametrize("count", [1, 4, 5])
def test_a_trace_of_several_slices_is_one_request(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Each span once and in order, also where the last slice is full."""
    monkeypatch.setattr(taking, "SLICE", 2)

    request = otlp(Tables(spans(count)))

    assert names(request) == [f"s{number}" for number in range(count)]
    assert "resourceLogs" not in request


def test_a_project_takes_its_own_away() -> None:
    """Where two have a trace of one id; in an id of capital letters too."""
    tables = Tables([span("mine"), span("others") | {"project": "bank"}])

    assert names(otlp(tables, ID.upper(), "?project=bank")) == ["others"]


def test_what_is_no_trace_here_is_not_there() -> None:
    """Nor is what cannot be an id, which stands in the name of a file."""
    with pytest.raises(NotThere, match="no such trace"):
        otlp(Tables())
    with pytest.raises(NotThere, match="no trace id"):
        otlp(Tables(), "a%22b")
    with pytest.raises(NotThere, match="no such trace"):
        see(taking.fixture, f"/traces/{ID}/fixture.zip", route="/traces/{trace_id}/fixture.zip")


def test_what_cannot_be_read_is_an_error_and_no_empty_trace() -> None:
    """With its reason."""
    tables = Tables()
    tables.database.execute("drop table spans")

    with pytest.raises(SpanloopError, match="spans does not exist"):
        otlp(tables)


def fixture(tables: Tables) -> dict[str, str]:
    seen = see(taking.fixture, f"/traces/{ID}/fixture.zip", route="/traces/{trace_id}/fixture.zip", tables=tables)
    with zipfile.ZipFile(io.BytesIO(seen.body)) as archive:
        return {name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist()}


def test_a_fixture_expects_what_the_etl_makes_of_it_now() -> None:
    """Steps, and what was set aside with its reason."""
    made = f"""
        create table transitions as select 'planner' as agent, 'aa' as span_id, 0 as step, 0.5 as reward,
            1.0 as outcome, 'A' as evidence, true as done, '{ID}' as trace_id
    """
    refused = f"create table rejected as select 'bb' as span_id, 'contradictory' as reason, '{ID}' as trace_id"

    files = fixture(Tables(spans(1), made, refused))

    expected = json.loads(files["expected.json"])
    step, set_aside = expected["expect"]
    assert (expected["files"], names(json.loads(files["a.json"]))) == (["a.json"], ["s0"])
    assert (step["table"], step["equals"]["reward"], step["where"]) == ("transitions", 0.5, {"span_id": "aa"})
    assert (set_aside["where"], set_aside["equals"]) == ({"span_id": "bb"}, {"reason": "contradictory"})


def test_a_fixture_is_of_few_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to take more is said; as many as it holds are taken."""
    monkeypatch.setattr(taking, "MAX_FIXTURE_SPANS", 3)
    monkeypatch.setattr(taking, "SLICE", 2)

    assert names(json.loads(fixture(Tables(spans(3)))["a.json"])) == ["s0", "s1", "s2"]
    with pytest.raises(SpanloopError, match="3 spans at most"):
        fixture(Tables(spans(4)))


def test_a_picture_that_is_none_is_not_there() -> None:
    """Of no call, and of a call that shows none."""
    table = f"create table llm_calls as select '{ID}' as trace_id, 'aa' as span_id, 'default' as project, '[]' as input"
    route = "/traces/{trace_id}/spans/{span_id}/picture"
    for span_id in ("aa", "bb"):
        with pytest.raises(NotThere, match="no such picture"):
            see(taking.picture, f"/traces/{ID}/spans/{span_id}/picture", route=route, tables=Tables([], table))
