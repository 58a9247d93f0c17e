"""Who is let in: names and origins, keys and sessions, tokens of forms."""

from pathlib import Path

import pytest

from foundation.web.keys import Forbidden, Scope, Unauthenticated, create_key, read_keys, revoke_key
from spanloop.page.entrance import Entrance, NotYours, new_cookie

HERE = {"host": "127.0.0.1:8317"}


def make_key(data: Path, *scopes: Scope) -> str:
    return create_key(data, name="somebody", project="shop", scopes=list(scopes))


def test_without_keys_everybody_on_this_machine_may_do_everything(tmp_path: Path) -> None:
    """As with the receiver; and forms carry a token all the same."""
    entrance = Entrance(tmp_path, session_s=60)
    cookie = new_cookie()

    visitor = entrance.identify({}, cookie)

    assert (visitor.project, visitor.sees_all) == (None, True)
    assert entrance.is_own_form(cookie, visitor.form_token)
    assert not entrance.is_own_form(new_cookie(), visitor.form_token)
    assert not entrance.is_own_form("", entrance.form_token(""))


@pytest.mark.parametrize(
    ("headers", "method"),
    [
        ({"host": "evil.example"}, "GET"),
        ({}, "GET"),
        ({**HERE, "origin": "https://evil.example"}, "POST"),
        ({**HERE, "origin": "null"}, "POST"),
        ({**HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, "GET"),
        ({**HERE, "sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}, "POST"),
    ],
)
def test_other_names_and_other_pages_are_refused(tmp_path: Path, headers: dict[str, str], method: str) -> None:
    """By DNS a name leads here, and a page the user visits can send here: neither is the user."""
    assert Entrance(tmp_path, session_s=60).refusal(headers, method)


def test_the_page_itself_and_links_to_it_pass(tmp_path: Path) -> None:
    """From anywhere one may follow a link."""
    entrance = Entrance(tmp_path, session_s=60)

    assert (
        entrance.refusal({**HERE, "origin": "http://127.0.0.1:8317", "sec-fetch-site": "same-origin"}, "POST") is None
    )
    assert entrance.refusal({**HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, "GET") is None


def test_a_login_lasts_until_it_is_ended_or_its_key_is_revoked(tmp_path: Path) -> None:
    """And shows the project of its key."""
    text = make_key(tmp_path, Scope.QUERY)
    entrance = Entrance(tmp_path, session_s=60)
    with pytest.raises(Unauthenticated):
        entrance.identify({}, new_cookie())

    cookie, other = entrance.log_in(text), entrance.log_in(text)
    assert entrance.identify({}, cookie).project == "shop"
    entrance.log_out(other)
    with pytest.raises(Unauthenticated):
        entrance.identify({}, other)
    revoke_key(tmp_path, read_keys(tmp_path)[0].id)
    with pytest.raises(Unauthenticated):
        entrance.identify({}, cookie)


def test_a_silent_session_ends(tmp_path: Path) -> None:
    """After the hours that were set."""
    text = make_key(tmp_path, Scope.QUERY)
    entrance = Entrance(tmp_path, session_s=-1)

    with pytest.raises(Unauthenticated):
        entrance.identify({}, entrance.log_in(text))


def test_scopes_say_what_a_visitor_may(tmp_path: Path) -> None:
    """`admin` reads everything, `query` its project, `ingest` alone nothing."""
    texts = {scope: create_key(tmp_path, name=scope.value, project="shop", scopes=[scope]) for scope in Scope}
    entrance = Entrance(tmp_path, session_s=60)

    admin = entrance.identify({"authorization": f"Bearer {texts[Scope.ADMIN]}"}, "")
    reader = entrance.identify({"x-api-key": texts[Scope.QUERY]}, "")

    assert (admin.project, admin.may(Scope.QUERY)) == (None, True)
    with pytest.raises(NotYours, match="scope admin"):
        reader.require(Scope.ADMIN)
    with pytest.raises(Forbidden):
        entrance.log_in(texts[Scope.INGEST])
