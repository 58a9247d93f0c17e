"""Where parents are lost, an agent's run is still no call beside those that it made."""

from etl.settings import EtlConfig
from etl.transform import transform
from tests.spans import identifier, llm, logs_frame, messages, span, spans_frame


def test_a_run_whose_parents_are_lost_is_no_call() -> None:
    """What was asked first, the last answer, and around both calls in time, without the instructions."""
    fields = {
        "acme.input": messages(("user", "12*7?")),
        "acme.output": messages(("assistant", "84.")),
        "acme.model": "m",
    }
    asked = (("system", "Be brief."), ("user", "12*7?"))
    made = (
        span("run", parent="lost", start=0, end=9, attributes=fields),
        llm("one", parent="lost too", asked=asked, said=None, calls=(("c1", "times", {"a": 12}),), start=1, end=2),
        llm(
            "two",
            parent="lost too",
            asked=(*asked, ("assistant", "Wait."), ("user", "So?")),
            said="84.",
            start=3,
            end=4,
        ),
    )

    dataset = transform(spans_frame(made), logs_frame(), EtlConfig(complete_after=0))
    calls = dataset.tables["llm_calls"].sort("start_ns")["span_id"].to_list()
    assert calls == [identifier("one", 16), identifier("two", 16)]


def test_calls_at_once_that_say_the_same_stay() -> None:
    """One covers the other in time, and neither goes on from anything: two samples."""
    made = (llm("long", start=0, end=9), llm("short", start=1, end=2))

    dataset = transform(spans_frame(made), logs_frame(), EtlConfig(complete_after=0))

    assert dataset.tables["llm_calls"].height == len(made)
