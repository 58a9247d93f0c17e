"""What cannot be placed and what came twice, set aside and said."""

from etl.clean import clean, unique_logs
from tests.spans import identifier, logs_frame, reward_record, span, spans_frame


def test_the_later_version_of_a_span_is_kept_in_any_order() -> None:
    """Of two that ended together the larger content: whatever the order of arrival, the outcome is the same."""
    early, late = span("a", end=1), span("a", end=2)
    small, large = span("b", end=1, message="x"), span("b", end=1, message="y")
    rows = [early, late, small, large]

    kept = [clean(spans_frame(order))[0] for order in (rows, rows[::-1])]

    assert kept[0].equals(kept[1])
    assert kept[0].select("span_id", "status_message").rows() == sorted(
        [(identifier("a", 16), None), (identifier("b", 16), "y")]
    )
    assert [row["reason"] for row in clean(spans_frame(rows))[1]] == ["duplicate", "duplicate"]


def test_a_span_that_cannot_be_placed_is_rejected() -> None:
    """It lacks an id or a time."""
    _, rejected = clean(spans_frame([{**span("a"), "end_ns": None}, span("b")]))

    assert [(row["stage"], row["reason"]) for row in rejected] == [("clean", "no_identity")]


def test_a_record_that_came_twice_is_one() -> None:
    """The same words at another time are another."""
    record = reward_record(1.0)
    again = {**record, "received_seq": 99}
    later = reward_record(1.0, at=30)

    assert unique_logs(logs_frame([record, again, later])).height == 2
