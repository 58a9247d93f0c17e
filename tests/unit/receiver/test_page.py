"""The page about the receiver names what there is."""

from pathlib import Path

from receiver.metrics import descriptions
from receiver.query.views import VIEWS
from receiver.settings import ReceiverConfig

PAGE = (Path(__file__).parents[3] / "docs" / "receiver.md").read_text()


def test_every_metric_is_on_the_page_with_its_meaning() -> None:
    """A counter nobody explains helps nobody."""
    missing = [name for name, meaning in descriptions().items() if f"| `{name}` | {meaning} |" not in PAGE]

    assert missing == []


def test_every_view_is_on_the_page() -> None:
    """People find the views by reading about them."""
    assert [view for view in VIEWS if f"`{view}`" not in PAGE] == []


def test_the_bounds_on_the_page_are_settings() -> None:
    """A flag the page names exists."""
    for flag in ("max_request_mb", "sql_timeout_s", "sql_max_rows", "sql_max_result_mb"):
        assert f"--{flag.replace('_', '-')}" in PAGE
        assert flag in ReceiverConfig.model_fields
