"""Where a hosted model is asked, and with which key."""

import asyncio
from pathlib import Path

import pytest

from foundation.errors import SettingsError
from serve.fallback.hosted import check_url, open_hosted, read_key, stays


@pytest.mark.parametrize(
    "url", ["api.example.com", "ftp://x/v1", "https://", "https://user:pw@x/v1", "https://x/v1?a=b", ""]
)
def test_what_is_no_base_of_an_api_is_refused(url: str) -> None:
    """A key in a URL would be shown wherever the URL is."""
    with pytest.raises(SettingsError):
        check_url(url)


def test_a_model_of_this_machine_is_asked_past_the_proxy() -> None:
    """What is outside may be behind one; what users said here is not for whoever listens there."""

    async def asks_the_proxy(url: str) -> bool:
        hosted = open_hosted(url, "m", None)
        asks = hosted.session.trust_env
        await hosted.session.close()
        return asks

    urls = ("https://api.example.com/v1", "http://127.0.0.1:9/v1", "http://localhost:9", "http://[::1]:9/v1")
    assert [asyncio.run(asks_the_proxy(url)) for url in urls] == [True, False, False, False]


def test_the_key_is_read_from_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is empty, a file that is missing, a key of two lines: said by their place, never by content."""
    monkeypatch.setenv("HOSTED_KEY", " sk-1 \n")
    path = tmp_path / "key"
    path.write_text("sk-2\n")
    assert (read_key("HOSTED_KEY", None), read_key(None, path), read_key(None, None)) == ("sk-1", "sk-2", None)

    monkeypatch.setenv("HOSTED_KEY", "")
    with pytest.raises(SettingsError, match="HOSTED_KEY"):
        read_key("HOSTED_KEY", None)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_key(None, tmp_path / "none")
    path.write_text("sk-3\nsk-4")
    with pytest.raises(SettingsError, match="does not hold a key") as refused:
        read_key(None, path)
    assert "sk-3" not in str(refused.value)


def test_who_has_the_student_keeps_it_as_its_share_grows() -> None:
    """Those who stay at a smaller share are among those who stay at a larger one, and the parts are as asked for."""
    units = [f"user:{number}".encode() for number in range(2000)]
    few, many = ({unit for unit in units if stays(unit, share)} for share in (0.2, 0.7))
    assert few < many
    assert abs(len(few) / 2000 - 0.2) < 0.04
    assert abs(len(many) / 2000 - 0.7) < 0.04
    assert not any(stays(unit, 0.0) for unit in units)
    assert all(stays(unit, 1.0) for unit in units)
