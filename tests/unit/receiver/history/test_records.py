"""Ids, times and attributes of what was exported."""

from datetime import UTC, datetime

import pytest

from receiver.history.records import Refused, attribute, make_span, ns_of, span_id_of, trace_id_of


@pytest.mark.parametrize(
    "written",
    [
        "2024-05-29T13:46:19.963Z",
        "2024-05-29 13:46:19.963000",
        "2024-05-29T15:46:19.963+02:00",
        "2024-05-29 13:46:19.963 UTC",
        datetime(2024, 5, 29, 13, 46, 19, 963000, UTC),
        1716990379.963,
        1716990379963,
        1716990379963000,
        1716990379963000000,
        "1716990379963000000",
    ],
)
def test_times_are_read_however_they_are_written(written: object) -> None:
    """Without a zone they are UTC; a number says its unit by its size."""
    assert ns_of(written) == 1716990379963000000


@pytest.mark.parametrize("written", ["soon", -1, "1931-01-01", 1e30, "9999-01-01"])
def test_times_that_are_none_are_refused(written: object) -> None:
    """So are those a nanosecond count cannot hold."""
    with pytest.raises(Refused):
        ns_of(written)


def test_ids_are_kept_where_they_are_w3c_s_and_stable_where_not() -> None:
    """Zeros alone are no id; protobuf's JSON has bytes in base64."""
    assert span_id_of("00F067AA0BA902B7").hex() == span_id_of("APBnqgupArc=").hex() == "00f067aa0ba902b7"
    assert trace_id_of("6f9619ff-8b86-d011-b42d-00c04fc964ff").hex() == "6f9619ff8b86d011b42d00c04fc964ff"
    assert span_id_of("0" * 16) != bytes(8)
    assert span_id_of("run 7") == span_id_of("run 7") != span_id_of("run 8")
    assert len(trace_id_of("x")) == 16


def test_a_span_ends_no_earlier_than_it_began() -> None:
    """Clocks of two machines may say otherwise."""
    made = make_span(trace="t", span="s", parent=None, name="n", start_ns=5, end_ns=3, attributes={"a": None, "b": 1})

    assert made.end_time_unix_nano == 5
    assert [pair.key for pair in made.attributes] == ["b", "spanloop.import.id", "spanloop.import.trace_id"]


def test_what_has_no_type_of_its_own_is_written_as_json() -> None:
    """Objects, mixed lists and integers beyond 64 bits."""
    assert attribute("a", {"b": [1]})["value"] == {"string_value": '{"b":[1]}'}
    assert attribute("a", [1, "b"])["value"] == {"string_value": '[1,"b"]'}
    assert attribute("a", ["b", "c"])["value"] == {
        "array_value": {"values": [{"string_value": "b"}, {"string_value": "c"}]}
    }
