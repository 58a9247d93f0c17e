"""Pages in a browser reach a receiver only where a setting lets them."""

import pytest

from foundation.web.browsers import Browsers as AnyBrowsers

PATHS = frozenset({"/v1/traces", "/v1/rewards"})


def Browsers(allowed: tuple[str, ...]) -> AnyBrowsers:  # noqa: N802
    return AnyBrowsers(allowed, paths=PATHS)


PAGE = {"host": "localhost:4318", "origin": "https://app.example"}


def test_a_program_is_let_through() -> None:
    """It sends no Origin, and one of HTTP/1.0 no Host."""
    assert Browsers(()).refusal({}, "/v1/traces", is_open=True) is None
    assert Browsers(()).refusal({"host": "127.0.0.1:4318"}, "/v1/sql", is_open=True) is None


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/rewards", "/v1/sql", "/metrics"])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_foreign_page_is_refused(path: str, *, is_open: bool) -> None:
    """With keys and without, on every path: a simple request needs no preflight to have its effect."""
    assert Browsers(()).refusal(PAGE, path, is_open=is_open) is not None
    assert Browsers(()).refusal({**PAGE, "origin": "null"}, path, is_open=is_open) is not None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4318", "localhost.evil.example"])
def test_another_name_for_this_machine_is_refused_without_keys(host: str) -> None:
    """DNS rebinding: the browser takes the page and the receiver for the same origin."""
    headers = {"host": host, "origin": f"http://{host}"}

    assert Browsers(()).refusal(headers, "/v1/sql", is_open=True) is not None
    assert Browsers(("*",)).refusal(headers, "/v1/traces", is_open=True) is not None


@pytest.mark.parametrize("allowed", ["https://app.example", "https://App.example/", "*"])
def test_an_allowed_page_may_send_and_not_query(allowed: str) -> None:
    """CORS as browsers ask for it, before and with the request."""
    browsers = Browsers((allowed,))

    assert browsers.refusal(PAGE, "/v1/traces", is_open=True) is None
    assert browsers.answer_headers(PAGE, "/v1/traces")["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Content-Type" in browsers.preflight_headers(PAGE, "/v1/traces")["Access-Control-Allow-Headers"]
    assert browsers.refusal(PAGE, "/v1/sql", is_open=True) is not None
    assert browsers.answer_headers(PAGE, "/v1/sql") == {} == browsers.preflight_headers(PAGE, "/v1/sql")


def test_other_pages_get_no_leave() -> None:
    """Neither a neighbour nor one whose name begins alike."""
    browsers = Browsers(("https://app.example",))
    for origin in ("https://app.example.evil", "http://app.example", "https://other.example"):
        assert browsers.preflight_headers({**PAGE, "origin": origin}, "/v1/traces") == {}
