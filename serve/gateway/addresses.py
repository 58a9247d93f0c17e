"""Where the gateway listens, and who is let in there."""

import errno
import ipaddress
import socket

from foundation.errors import Busy, SettingsError

CONVENTIONAL_HOLDERS = {8000: "vLLM's and many other model servers' own port", 4000: "LiteLLM's port"}


def parse_address(listen: str, *, has_keys: bool = False) -> tuple[str, int]:
    """Split host:port; refuse whatever is not loopback while there are no keys to tell callers by.

    >>> parse_address("127.0.0.1:8000")
    ('127.0.0.1', 8000)
    """
    host, separator, port = listen.rpartition(":")
    host = host.strip("[]")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"--listen {listen} is not HOST:PORT", hint="For example --listen 127.0.0.1:8000")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback and not has_keys:
        raise SettingsError(
            f"--listen {listen} would let others in, and there is no key to tell callers by",
            hint="Make one: spanloop receiver keys create --data DIR --name agents --scope serve",
        )
    return host, int(port)


def bind(listen: str, *, has_keys: bool = False) -> socket.socket:
    """Take the gateway's port, or say who usually has it."""
    host, port = parse_address(listen, has_keys=has_keys)
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise SettingsError(f"cannot listen on {listen}: {error.strerror}") from error
        usual = CONVENTIONAL_HOLDERS.get(port)
        raise Busy(
            f"port {port} is in use" + (f" ({usual})" if usual else ""),
            hint=f"Stop its holder (`ss -ltnp 'sport = :{port}'` names it), or choose another port with --listen.",
        ) from error
