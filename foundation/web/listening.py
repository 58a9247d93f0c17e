"""Where a server of ours listens, who reaches it there, and what it shows them."""

import ipaddress
import ssl
from pathlib import Path

from foundation.errors import SettingsError


def split_address(address: str, flag: str, *, port: int) -> tuple[str, int]:
    """Split `host:port`. Raises `SettingsError` when it is something else, with an example at a usual port.

    >>> split_address("[::1]:8000", "--listen", port=8000)
    ('::1', 8000)
    """
    host, _, number = address.rpartition(":")
    if not host or not (number.isascii() and number.isdigit()) or int(number) > 65535:
        raise SettingsError(f"{flag} {address[:200]} is not HOST:PORT", hint=f"For example: {flag} 127.0.0.1:{port}")
    return host.strip("[]"), int(number)


def bracket(host: str) -> str:
    """Return a host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address.

    >>> [is_loopback(host) for host in ("127.8.8.8", "::1", "localhost", "0.0.0.0", "example.com")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_reachable(
    address: str, flag: str, host: str, *, tells_callers_apart: bool, danger: str, hint: str, is_encrypted: bool
) -> None:
    """Refuse an address others can reach, unless they have to show who they are and nobody can listen in.

    `danger` says what anyone there could do, `hint` how callers are told apart.
    """
    if is_loopback(host):
        return
    if not tells_callers_apart:
        raise SettingsError(
            f"{flag} {address} is reachable from other machines, and anyone there could {danger}", hint=hint
        )
    if not is_encrypted:
        raise SettingsError(
            f"{flag} {address} is reachable from other machines, and keys and prompts would travel in the clear",
            hint="Give --tls-cert and --tls-key; or --plaintext where a mesh or proxy encrypts.",
        )


def tls_context(cert: Path | None, key: Path | None, *, client_ca: Path | None = None) -> ssl.SSLContext | None:
    """Return what encrypts, None where nothing was asked for. Raises `SettingsError` where half of it is missing.

    With authorities in `client_ca`, clients have to show a certificate of theirs.
    """
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        raise SettingsError("TLS needs a certificate and its key", hint="Give both --tls-cert and --tls-key.")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        named = ", ".join(str(path) for path in (cert, key, client_ca) if path is not None)
        raise SettingsError(
            f"the certificates cannot be used ({named}): {error.strerror or error}",
            hint="They are PEM files: the chain, its private key, and the authorities of clients.",
        ) from None
    return context
