"""The page about the receiver names every view."""

from pathlib import Path

from receiver.query.views import VIEWS

PAGE = (Path(__file__).parents[4] / "docs" / "receiver.md").read_text()


def test_every_view_is_on_the_page() -> None:
    """People find the views by reading about them."""
    assert [view for view in VIEWS if f"`{view}`" not in PAGE] == []
