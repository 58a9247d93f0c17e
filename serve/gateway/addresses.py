"""Where the gateway listens, and who is let in there."""

import errno
import socket

from foundation.errors import Busy, SettingsError
from foundation.web.listening import check_reachable, split_address
from serve.settings import ServeConfig

CONVENTIONAL_HOLDERS = {8000: "vLLM's and many other model servers' own port", 4000: "LiteLLM's port"}


def check_address(config: ServeConfig, *, has_keys: bool) -> tuple[str, int]:
    """Return host and port; refuse what others reach while no key tells callers apart, or nothing encrypts."""
    host, port = split_address(config.listen, "--listen", port=8000)
    check_reachable(
        config.listen,
        "--listen",
        host,
        tells_callers_apart=has_keys,
        danger="use the model",
        hint=f"Make a key first: spanloop receiver keys create --data {config.data} --name agents --scope serve",
        is_encrypted=config.tls_cert is not None or config.plaintext,
    )
    return host, port


def check_control_address(config: ServeConfig, listen: str, *, has_keys: bool) -> None:
    """Refuse an address for commands that others reach while no key may change what is live, or nothing encrypts."""
    host, _ = split_address(listen, "--control-listen", port=8001)
    check_reachable(
        listen,
        "--control-listen",
        host,
        tells_callers_apart=has_keys,
        danger="change what is live",
        hint=f"Make a key first: spanloop receiver keys create --data {config.data} --name nights --scope admin",
        is_encrypted=config.tls_cert is not None or config.plaintext,
    )


def bind(listen: str, flag: str = "--listen") -> socket.socket:
    """Take a port of the gateway's, or say who usually has it."""
    host, port = split_address(listen, flag, port=8000)
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
            hint=f"Stop its holder (`ss -ltnp 'sport = :{port}'` names it), or choose another port with {flag}.",
        ) from error
