"""The page about the receiver explains every metric."""

from pathlib import Path

from receiver.metrics import descriptions

PAGE = (Path(__file__).parents[3] / "docs" / "receiver.md").read_text()


def test_every_metric_is_on_the_page_with_its_meaning() -> None:
    """A counter nobody explains helps nobody."""
    missing = [name for name, meaning in descriptions().items() if f"| `{name}` | {meaning} |" not in PAGE]

    assert missing == []
