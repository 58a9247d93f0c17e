"""Pages in a browser: which may ask here, and how they are kept from reaching a server that trusts its machine.

Loopback is no trust: a page the user visits can post to it, and by DNS rebinding read the answer. So a request that a
foreign page makes (it carries `Origin`) is refused unless a setting allows that origin, and a server without keys
answers only to names of this machine.
"""

import ipaddress
from collections.abc import Mapping

PREFLIGHT_LASTS_S = 7200


class Browsers:
    """Judges requests by the headers browsers set. Origins are `https://app.example`, or `*` for any.

    A page of an allowed origin may use `paths` (None: all), with `methods` and the headers in `allowed_headers`.
    """

    def __init__(
        self,
        allowed_origins: tuple[str, ...],
        *,
        paths: frozenset[str] | None,
        methods: str = "POST",
        allowed_headers: str = "Authorization, Content-Type",
    ) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)
        self._paths = paths
        self._methods = methods
        self._headers = allowed_headers

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
            "Access-Control-Allow-Methods": self._methods,
            "Access-Control-Allow-Headers": self._headers,
            "Access-Control-Max-Age": str(PREFLIGHT_LASTS_S),
        }

    def _is_allowed(self, origin: str, path: str) -> bool:
        is_open = self._paths is None or path in self._paths
        return is_open and bool(self._allowed & {"*", origin.lower()})


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
