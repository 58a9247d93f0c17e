"""Pages in a browser: which may send here, and how they are kept from reaching a receiver that trusts its machine.

Loopback is no trust: a page the user visits can post to it, and by DNS rebinding read the answer. So a request that a
foreign page makes (it carries `Origin`) is refused unless a setting allows that origin, and a receiver without keys
answers only to names of this machine.
"""

import ipaddress
from collections.abc import Mapping

CORS_PATHS = frozenset({"/v1/traces", "/v1/logs", "/v1/rewards"})
"""Where a page of an allowed origin may send. Queries, backups and metrics are not for pages."""

ALLOWED_HEADERS = "Authorization, Content-Encoding, Content-Type, X-Api-Key"
PREFLIGHT_LASTS_S = 7200


class Browsers:
    """Judges requests by the headers browsers set. Origins are `https://app.example`, or `*` for any."""

    def __init__(self, allowed_origins: tuple[str, ...]) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)

    def refusal(self, headers: Mapping[str, str], path: str, *, is_open: bool) -> str | None:
        """Say why a request may not pass, None when it may. Header names are in lower case.

        `is_open` tells that it needs no key: then its Host must be a name of this machine.
        """
        host = headers.get("host", "")
        if is_open and host and not is_this_machine(host):  # no browser leaves it out
            return "without keys only names of this machine are answered to: localhost, 127.0.0.1 or [::1]"
        origin = headers.get("origin")
        if origin is None or self._is_allowed(origin, path) or _is_same(origin, host):
            return None
        return "pages of this origin may not send here; --cors-allowed-origins lists those that may"

    def answer_headers(self, headers: Mapping[str, str], path: str) -> dict[str, str]:
        """Return the headers that let the page see the answer; none where it is no page of an allowed origin."""
        origin = headers.get("origin")
        if origin is None or not self._is_allowed(origin, path):
            return {}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def preflight_headers(self, headers: Mapping[str, str], path: str) -> dict[str, str]:
        """Return the headers that let the page send; none where it may not."""
        allowed = self.answer_headers(headers, path)
        if not allowed:
            return {}
        return {
            **allowed,
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_LASTS_S),
        }

    def _is_allowed(self, origin: str, path: str) -> bool:
        return path in CORS_PATHS and bool(self._allowed & {"*", origin.lower()})


def _is_same(origin: str, host: str) -> bool:
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def is_this_machine(host: str) -> bool:
    """Tell whether a Host header names this machine.

    >>> [is_this_machine(host) for host in ("localhost:4318", "127.0.0.1", "[::1]:4318", "evil.example:4318", "")]
    [True, True, True, False, False]
    """
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower() in ("localhost", "localhost.")
