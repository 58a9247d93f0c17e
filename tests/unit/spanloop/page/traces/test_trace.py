"""One trace: what is shown of it first, part by part, and to whom."""

from collections.abc import Iterator

import pytest

from spanloop.page.entrance import Visitor
from spanloop.page.traces import trace
from spanloop.page.traces.trace import branch, detail, show
from spanloop.page.visit import NotThere
from tests.spans import START_NS, identifier, llm, span
from tests.unit.spanloop.page.visiting import ADMIN, Seen, Tables, see

ID = identifier("t", 32)
SHOW, BRANCH, DETAIL = "/traces/{trace_id}", "/traces/{trace_id}/branch", "/traces/{trace_id}/spans/{span_id}"
PART = {"X-Part": "1"}


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    yield
    trace._kept.clear()


def shown(tables: Tables, query: str = "", visitor: Visitor = ADMIN) -> Seen:
    return see(show, f"/traces/{ID}{query}", route=SHOW, tables=tables, visitor=visitor)


def branched(tables: Tables, of: str, visitor: Visitor = ADMIN) -> Seen:
    address = f"/traces/{ID}/branch?of={identifier(of, 16)}"
    return see(branch, address, route=BRANCH, tables=tables, visitor=visitor, headers=PART)


def test_a_trace_that_is_none_is_not_there() -> None:
    """Nor is one whose spans cannot be read: the reason is told."""
    with pytest.raises(NotThere, match="no such trace"):
        shown(Tables([span("other", trace="another")]))
    tables = Tables()
    tables.database.execute("drop table spans")
    with pytest.raises(NotThere, match=r"spans does not exist(.|\n)*Mend it"):
        shown(tables)


def test_one_id_in_two_projects_is_two_traces() -> None:
    """One of them is shown, the one that was asked for; another's name shows nothing else."""
    tables = Tables([span("of-shop"), span("of-bank") | {"project": "bank"}])

    first, second, unknown = (shown(tables, query).text for query in ("", "?project=default", "?project=none"))

    assert ("<title>of-bank" in first, "<title>of-shop" in second, "<title>of-bank" in unknown) == (True, True, True)
    assert identifier("of-bank", 16) not in second


def test_a_long_trace_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says which of how many, and leads to the others."""
    monkeypatch.setattr(trace, "PART", 2)
    tables = Tables([span(f"s{number}", start=number) for number in range(5)])

    first, last = shown(tables).text, shown(tables, "?part=2").text

    assert all(label in page for page in (first, last) for label in ("1 to 2", "3 to 4", "5 to 5"))
    assert (identifier("s1", 16) in first, identifier("s4", 16) in first) == (True, False)
    assert (identifier("s1", 16) in last, identifier("s4", 16) in last) == (False, True)


def test_a_span_that_began_after_all_others_had_ended_is_shown() -> None:
    """It has no end, or one before its begin."""
    late = span("late", start=9) | {"end_ns": None}
    back = span("back", start=9) | {"end_ns": START_NS}

    for odd in (late, back):
        assert identifier(odd["name"], 16) in shown(Tables([span("root", end=1), span("x", end=2), odd])).text


def test_of_a_trace_the_call_that_was_pushed_down_hardest_is_seen_first() -> None:
    """Where nothing is known of calls, the root; what the address names goes before either."""
    rows = [span("root"), llm("good", parent="root", start=1), llm("bad", parent="root", start=2)]
    names = "project, span_id, trace_id, start_ns, step, reward"
    known = f"create table transitions as select * from (values {{}}) as t ({names})"
    values = ", ".join(
        f"('default', '{identifier(name, 16)}', '{ID}', {START_NS}, {step}, {reward})"
        for step, (name, reward) in enumerate((("good", 0.5), ("bad", -0.5)))
    )
    without = "observation next_observation action tools media prompt_token_ids response_token_ids behavior_logprobs"
    columns = [f"alter table transitions add column {name} varchar" for name in without.split()]

    plain = shown(Tables(rows)).text
    learned = shown(Tables(rows, known.format(values), *columns)).text
    asked = shown(Tables(rows, known.format(values), *columns), f"?span={identifier('good', 16)}").text

    assert [chosen(page) for page in (plain, learned, asked)] == ["root", "bad", "good"]


def chosen(page: str) -> str:
    """Return the name of the span whose detail stands on a page."""
    return page.partition('class="panel detail"')[2].partition("<h2")[2].partition(">")[2].partition("<")[0].strip()


def test_a_branch_is_shown_from_what_was_just_read() -> None:
    """By the page's script; but to nobody who may see other rows, and not by a reader who comes anew."""
    tables = Tables([span("root"), span("child", parent="root", start=0.5)])
    shown(tables)
    asked = len(tables.questions)

    again = branched(tables, "root")
    assert (identifier("child", 16) in again.text, len(tables.questions)) == (True, asked)
    branched(tables, "root", Visitor("shop", "shop", frozenset()))
    assert len(tables.questions) > asked
    asked = len(tables.questions)
    shown(tables)
    assert len(tables.questions) > asked


def test_few_spans_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace that was read last, whatever its size."""
    monkeypatch.setattr(trace, "KEPT_SPANS", 1)
    tables = Tables([span("a"), span("b", start=1), span("c", trace="u")])
    shown(tables)
    see(show, f"/traces/{identifier('u', 32)}", route=SHOW, tables=tables)

    assert [key[3] for key in trace._kept] == [identifier("u", 32)]


def test_a_span_that_is_not_in_the_trace_has_no_branch_and_no_detail() -> None:
    """Though it is in another."""
    tables = Tables([span("a"), span("c", trace="u")])

    with pytest.raises(NotThere, match="no such span"):
        branched(tables, "c")
    with pytest.raises(NotThere, match="no such span"):
        see(detail, f"/traces/{ID}/spans/{identifier('c', 16)}", route=DETAIL, tables=tables)
