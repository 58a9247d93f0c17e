"""Which side of the hold-out an episode is on: what belongs together is never divided."""

from datetime import UTC, datetime
from typing import Any

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import START_NS, Span, identifier, llm, logs_frame, span, spans_frame


def episode(name: str, question: str, *, user: str | None = None, start: float = 0.0) -> list[Span]:
    """Return an episode of one question."""
    attributes = {} if user is None else {"user.id": user}
    return [
        span(f"{name} root", trace=name, attributes=attributes, start=start, end=start + 9),
        llm(name, trace=name, parent=f"{name} root", asked=[("user", question)], start=start + 1, end=start + 2),
    ]


def sides(*episodes: list[Span], **settings: Any) -> dict[str, str]:
    """Return the side of each trace, by trace id."""
    config = EtlConfig(complete_after=0, **settings)
    spans = [one for members in episodes for one in members]
    rows = transform(spans_frame(spans), logs_frame(), config).tables["episodes"]
    return dict(rows.select("episode_id", "split").iter_rows())


def test_near_copies_of_a_task_are_on_one_side() -> None:
    """Forty tasks, each twice: once as it is, once shouted with odd spacing."""
    twice = [(f"What is {n} of it?", f"  WHAT is {n}, of it") for n in range(40)]
    found = [set(sides(episode("a", plain), episode("b", shouted), holdout=0.5).values()) for plain, shouted in twice]

    assert all(len(one) == 1 for one in found)
    assert {side for one in found for side in one} == {"train", "heldout"}


def test_a_user_is_wholly_on_one_side() -> None:
    """Whatever they ask."""
    found = [
        set(
            sides(
                episode("a", f"one {n}", user=f"u{n}"),
                episode("b", f"two {n}", user=f"u{n}"),
                holdout=0.5,
                holdout_by="user",
            ).values()
        )
        for n in range(40)
    ]

    assert all(len(one) == 1 for one in found)
    assert {side for one in found for side in one} == {"train", "heldout"}


def test_transitions_say_whom_the_agent_worked_for() -> None:
    """As the span nearest the root says; null where none does."""
    spans = [*episode("a", "one", user="ada"), *episode("b", "two")]
    rows = transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0)).tables["transitions"]

    found = dict(rows.select("trace_id", "user_id").iter_rows())
    assert found == {identifier("a", 32): "ada", identifier("b", 32): None}


def test_what_began_later_is_held_out() -> None:
    """From the instant on, that one included."""
    begins = datetime.fromtimestamp(START_NS / 1e9 + 100, tz=UTC)

    found = sides(episode("a", "one"), episode("b", "two", start=100), holdout=0, holdout_from=begins)

    assert sorted(found.values()) == ["heldout", "train"]


STORY = "A friend of mine would like to {verb} a quiet hotel near the old harbour of {town} for {nights} nights in May"


def groups(*questions: str) -> list[str]:
    """Return the split group of each question, asked in an episode of its own."""
    spans = [one for n, question in enumerate(questions) for one in episode(f"e{n}", question)]
    rows = transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0)).tables["transitions"]
    by_trace = dict(rows.select("trace_id", "split_group").iter_rows())
    return [by_trace[identifier(f"e{n}", 32)] for n in range(len(questions))]


def test_tasks_that_nearly_agree_are_one_group() -> None:
    """A word added at the end, another order of arrival: one group; other words or another number: another task."""
    plain = STORY.format(verb="book", town="Bergen", nights=3)
    near = plain + " please"
    other_town = STORY.format(verb="find", town="Lisbon", nights=3)
    other_number = STORY.format(verb="book", town="Bergen", nights=4)

    found = groups(plain, near, other_town, other_number)

    assert found[0] == found[1]
    assert len(set(found)) == 3
    assert groups(near, plain) == [found[0], found[0]], "whichever comes first"


def test_a_group_is_on_one_side() -> None:
    """Twenty-six tasks and a near copy of each, in one run; sides differ between tasks, never within one."""
    texts = [f"{STORY.format(verb='book', town=f'town{chr(97 + n)}ville', nights=n)} and tell me" for n in range(26)]
    spans = [
        one for n, text in enumerate(texts) for one in (*episode(f"a{n}", text), *episode(f"b{n}", f"{text} soon"))
    ]

    rows = transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0, holdout=0.5)).tables["episodes"]

    by_group = dict(rows.group_by("split_group").agg("split").iter_rows())
    assert len(by_group) == 26
    assert all(len(sides) == 2 and len(set(sides)) == 1 for sides in by_group.values())
    assert {side for sides in by_group.values() for side in sides} == {"train", "heldout"}


def test_what_spans_or_the_time_decide_has_no_group() -> None:
    """Nothing was hashed."""
    begins = datetime.fromtimestamp(START_NS / 1e9 - 100, tz=UTC)
    config = EtlConfig(complete_after=0, holdout_from=begins)

    rows = transform(spans_frame(episode("a", "one")), logs_frame(), config).tables["episodes"]

    assert rows.select("split", "split_group").rows() == [("heldout", None)]
