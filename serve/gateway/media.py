"""Media a request names by URL: refused, unless their domain is allowed, because the engine would fetch them.

It would do so from inside our network, with our addresses: http://169.254.169.254/ answers with a cloud's credentials.
Media that come inline, as `data:` URLs, are nobody's to fetch and pass.
"""

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit


def find_refused(request: Mapping[str, Any], domains: Collection[str]) -> str | None:
    """Return where a request names media it may not, `messages[0]` or the like; null when nowhere.

    Read are the messages of chat calls, and the items and tools of the Responses API (`server_url` is a server its
    engine would call).

    >>> image = {"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}
    >>> request = {"messages": [{"role": "user", "content": [image]}]}
    >>> find_refused(request, ()), find_refused(request, ("example.com",))
    ('messages[0]', None)
    """
    for name in ("messages", "input", "tools"):
        entries = request.get(name)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if not isinstance(entry, dict):
                continue
            if name == "tools":
                is_refused = "server_url" in entry
            else:
                is_refused = _fetches(entry.get("content") if name == "messages" else entry, domains)
            if is_refused:
                return f"{name}[{index}]"
    return None


def _fetches(content: object, domains: Collection[str]) -> bool:
    if isinstance(content, list):
        return any(_fetches(part, domains) for part in content)
    if not isinstance(content, dict):
        return False
    for name, value in content.items():
        if isinstance(value, str) and (name == "url" or name.endswith("_url")):
            if not may_pass(value, domains):
                return True
        elif _fetches(value, domains):
            return True
    return False


def may_pass(url: str, domains: Collection[str]) -> bool:
    r"""Tell whether a URL is inline, or one of an allowed domain that every parser reads alike.

    >>> [may_pass(url, {"a.com"}) for url in ("data:image/png;base64,AA", "https://a.com/x", "http://A.com:8080/")]
    [True, True, True]
    >>> [may_pass(url, {"a.com"}) for url in ("file:///etc/passwd", "http://a.com.evil/", "http://a.com@evil/", "/a")]
    [False, False, False, False]
    >>> may_pass("http://evil\\@a.com/", {"a.com"})
    False
    """
    if url[:5].lower() == "data:":
        return True
    if any(character in "\\@" or character.isspace() or not character.isprintable() for character in url):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname in domains
