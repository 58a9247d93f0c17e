"""Which side of the hold-out an episode is on: what belongs together is never divided."""

from datetime import UTC, datetime
from typing import Any

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import START_NS, Span, llm, logs_frame, span, spans_frame


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


def test_what_began_later_is_held_out() -> None:
    """From the instant on, that one included."""
    begins = datetime.fromtimestamp(START_NS / 1e9 + 100, tz=UTC)

    found = sides(episode("a", "one"), episode("b", "two", start=100), holdout=0, holdout_from=begins)

    assert sorted(found.values()) == ["heldout", "train"]
