"""What is large and of no use to learning, taken out and said so."""

import pytest

from otel_exporter.schema import CUT
from otel_exporter.stages.cutting import SHORTEST_MEDIUM, Cutter, stages

IMAGE = "iVBORw0KGgo" + "A" * SHORTEST_MEDIUM


def cut(value: object, *, media: bool = True, max_length: int | None = None) -> dict[str, object]:
    done, _ = Cutter(None, media=media, max_length=max_length).span({"a": value})
    return done[0]


def test_media_go_wherever_they_stand_and_their_digest_stays() -> None:
    """Within JSON, lists and objects; the same image has the same digest."""
    url = f"data:image/png;base64,{IMAGE}"
    for value in (url, [url], {"x": {"y": url}}, '{"url": "' + url + '"}'):
        found = str(cut(value)["a"])
        assert IMAGE not in found
        assert "image/png" in found
        assert "sha256" in found
        assert found == str(cut(value)["a"])


def test_text_is_no_medium() -> None:
    """However long; nor is a short piece of base64."""
    for value in ("word " * 1000, "A" * (SHORTEST_MEDIUM - 1), 7, None, True):
        assert cut(value) == {"a": value}


def test_what_is_cut_is_counted_on_the_span() -> None:
    """With what was cut before; an event's values count too, and nothing is changed in place."""
    span, event = {"a": "x" * 5000, CUT: 2}, {"b": "y" * 5000, "c": "z"}

    (first, second), changed = Cutter(None, media=False, max_length=2048).span(span, event)

    assert (first[CUT], changed) == (4, 2)
    assert str(first["a"]).endswith("truncated, it had 5000")
    assert second["c"] == "z"
    assert span["a"] == "x" * 5000


@pytest.mark.parametrize(
    "variables", [{"CUT_MEDIA": "perhaps"}, {"CUT_LENGTH": "-1"}, {"CUT_LENGTH": "12"}, {"CUT_LENGTH": "many"}]
)
def test_settings_that_make_no_sense_are_refused(variables: dict[str, str]) -> None:
    """Rather than sending what somebody meant to keep back."""
    with pytest.raises(ValueError, match="CUT_"):
        stages({f"P_{name}": value for name, value in variables.items()}, "P_")


def test_nothing_is_done_unless_asked_for() -> None:
    """No stage at all."""
    assert stages({}, "P_") is None
    assert isinstance(stages({"P_CUT_MEDIA": "true"}, "P_"), Cutter)
