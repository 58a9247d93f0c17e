"""Posts OTLP requests over HTTP, with settings of our own alone. Standard library only.

What HTTP needs is imported by the thread that sends first: an agent that imports the tracker should not wait for it.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

PREFIX = "SPANLOOP_EXPORTER_OTLP_"
DEFAULT_ENDPOINT = "http://localhost:4318"
RETRYABLE = {429, 502, 503, 504}
"""Statuses after which OTLP has a client send again (OTLP specification, Failures)."""


class Refused(Exception):
    """The receiver will never take this request."""


class Unreachable(Exception):
    """The receiver cannot take this request now."""


Post = Callable[[str, bytes], None]
"""Sends the body of a request of a signal (`traces`, `logs`). Raises `Refused` or `Unreachable`."""


class Settings(NamedTuple):
    """Where requests go and how, from SPANLOOP_EXPORTER_OTLP_*; they mean what OTEL_EXPORTER_OTLP_* mean."""

    endpoint: str
    headers: Mapping[str, str]
    timeout_s: float
    compression: str
    certificate: "str | None"
    client_certificate: "str | None"
    client_key: "str | None"


def read_settings(environment: Mapping[str, str], default_endpoint: str = DEFAULT_ENDPOINT) -> Settings:
    """Read the settings. Raises ValueError for one that makes no sense, OSError for a file that cannot be read."""

    def setting(name: str, default: str = "") -> str:
        return environment.get(f"{PREFIX}{name}", "").strip() or default

    try:
        timeout_s = float(setting("TIMEOUT", "10"))
    except ValueError:
        raise ValueError(f"{PREFIX}TIMEOUT is not a number of seconds") from None
    compression = setting("COMPRESSION", "none")
    if compression not in {"none", "gzip"}:
        raise ValueError(f"{PREFIX}COMPRESSION is {compression!r}; use none or gzip")
    headers = {}
    for pair in filter(None, setting("HEADERS").split(",")):
        key, marker, value = pair.partition("=")
        if not marker:
            raise ValueError(f"{PREFIX}HEADERS: {key.strip()!r} has no value; use name=value,name=value")
        headers[key.strip()] = unquoted(value.strip())
    certificate, client_certificate, client_key = (
        setting(name) or None for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    )
    if (client_certificate is None) != (client_key is None):
        raise ValueError(f"{PREFIX}CLIENT_CERTIFICATE and {PREFIX}CLIENT_KEY go together")
    for path in filter(None, (certificate, client_certificate, client_key)):
        with open(path, "rb"):  # noqa: PTH123 - pathlib takes longer to load than all of this
            pass  # an unreadable one is named now, not at every export
    endpoint = setting("ENDPOINT", default_endpoint).rstrip("/")
    return Settings(endpoint, headers, timeout_s, compression, certificate, client_certificate, client_key)


def unquoted(value: str) -> str:
    """Return a value without its URL encoding."""
    if "%" not in value:
        return value
    from urllib.parse import unquote

    return unquote(value)


def http_post(settings: Settings, content_type: str = "application/json") -> Post:
    """Return what posts to `/v1/traces` and `/v1/logs` of a receiver. Raises ValueError for another kind of address."""
    endpoint = settings.endpoint
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"{PREFIX}ENDPOINT is {endpoint!r}; over HTTP it reads http://host:4318")
    headers = {"Content-Type": content_type, **settings.headers}
    if settings.compression == "gzip":
        headers["Content-Encoding"] = "gzip"
    context = _tls(settings) if endpoint.startswith("https://") else None
    opener: Any = None

    def post(signal: str, body: bytes) -> None:
        import http.client
        import urllib.error
        import urllib.request

        nonlocal opener
        opener = opener or _opener(context)
        if settings.compression == "gzip":
            import gzip

            body = gzip.compress(body, 5)
        request = urllib.request.Request(f"{endpoint}/v1/{signal}", body, headers)  # noqa: S310 - http, https, above
        try:
            with opener.open(request, timeout=settings.timeout_s) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            with contextlib.suppress(OSError):
                error.close()
            kind = Unreachable if error.code in RETRYABLE else Refused
            raise kind(f"{endpoint} answered {error.code}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Unreachable(f"{endpoint}: {type(reason).__name__}") from None

    return post


def _tls(settings: Settings) -> Any:  # noqa: ANN401 - ssl's own, which is loaded for https alone
    import ssl

    context = ssl.create_default_context(cafile=settings.certificate)
    if settings.client_certificate:
        context.load_cert_chain(settings.client_certificate, settings.client_key)
    return context


def _opener(context: Any) -> Any:  # noqa: ANN401
    """Return what opens addresses: without a proxy, so that prompts go where they were to go and nowhere else."""
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
            """Follow nothing: a receiver does not move."""

    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), NoRedirect()]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)
