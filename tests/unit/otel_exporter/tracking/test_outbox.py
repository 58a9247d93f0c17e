"""What the tracker says passes the stages that the environment asks for."""

import pytest

from otel_exporter.schema import CUT
from otel_exporter.stages.cutting import stages
from otel_exporter.tracking import outbox
from tests.unit.otel_exporter.kept import Kept


def test_without_stages_everything_leaves_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent values included: whoever writes them leaves them out."""
    monkeypatch.setattr(outbox, "_shared", Kept())

    assert outbox.passed({"a": 1, "b": None}, {"c": "x"}) == [{"a": 1, "b": None}, {"c": "x"}]


def test_stages_see_a_span_and_its_events_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut in an event is counted on the span."""
    sender = Kept()
    monkeypatch.setattr(sender, "stage", stages({"X_CUT_LENGTH": "1024"}, "X_"), raising=False)
    monkeypatch.setattr(outbox, "_shared", sender)

    values, event = outbox.passed({"a": "short", "b": None}, {"said": "x" * 2000})

    assert values == {"a": "short", CUT: 1}
    assert event["said"].endswith("truncated, it had 2000")
