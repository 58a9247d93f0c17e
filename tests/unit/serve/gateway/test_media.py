"""URLs in requests: an engine would fetch them from inside our network, so only named domains pass."""

from typing import Any

import pytest

from serve.gateway.media import find_refused, may_pass

IMAGE = "http://169.254.169.254/latest"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "image_url", "image_url": IMAGE},
        {"type": "input_audio", "audio": {"inner": [{"audio_url": IMAGE}]}},
        {"type": "video_url", "video_url": {"url": "file:///etc/passwd"}},
    ],
)
def test_a_url_is_found_wherever_a_message_has_it(part: dict[str, Any]) -> None:
    """By its key, at any depth; where it stands is said, and not what it is."""
    request = {"messages": [{"content": "hi"}, {"content": [{"type": "text", "text": IMAGE}, part]}]}

    assert find_refused(request, ()) == "messages[1]"


def test_what_is_only_said_is_no_medium() -> None:
    """A text may be about any address, and inline media are nobody's to fetch."""
    inline = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}

    assert find_refused({"messages": [{"content": IMAGE}, {"content": [inline]}, "odd", {"content": 7}]}, ()) is None


def test_servers_that_an_engine_would_call_are_refused_whatever_is_allowed() -> None:
    """Tools of the Responses API, and items of its input."""
    assert find_refused({"tools": [{"type": "function"}, {"server_url": "https://a.com"}]}, ("a.com",)) == "tools[1]"
    assert find_refused({"input": [{"image_url": "https://b.com/x"}]}, ("a.com",)) == "input[0]"
    assert find_refused({"input": [{"image_url": "https://a.com/x"}]}, ("a.com",)) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://a.com.evil.org/", "https://evil.org/a.com", "https://a.com@evil.org/", "https://a.com\\@evil.org/",
        "ftp://a.com/", "//a.com/x", "https://a.com\t.evil.org/",
    ],
)  # fmt: skip
def test_a_domain_is_matched_as_every_parser_reads_it(url: str) -> None:
    """No address that one library takes for an allowed one and another does not."""
    assert not may_pass(url, {"a.com"})
