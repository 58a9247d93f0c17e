"""The page about the receiver names settings there are."""

from pathlib import Path

from receiver.settings import ReceiverConfig

PAGE = (Path(__file__).parents[3] / "docs" / "receiver.md").read_text()


def test_the_bounds_on_the_page_are_settings() -> None:
    """A flag the page names exists."""
    for flag in ("max_request_mb", "sql_timeout_s", "sql_max_rows", "sql_max_result_mb"):
        assert f"--{flag.replace('_', '-')}" in PAGE
        assert flag in ReceiverConfig.model_fields
