"""Where the receiver listens: which addresses can be, and which may be while others reach them."""

import socket

from foundation.errors import Busy, SettingsError
from foundation.web import listening
from foundation.web.keys import read_keys
from receiver.settings import ReceiverConfig


def split_address(address: str, flag: str) -> tuple[str, int]:
    """Split `host:port`. Raises `SettingsError` when it is something else."""
    return listening.split_address(address, flag, port=4317)


def check_usable(config: ReceiverConfig) -> None:
    """Refuse addresses that nobody can listen on, which no waiting makes free."""
    named = {"--grpc": config.grpc, "--http": config.http}
    for flag, address in named.items():
        host, port = split_address(address, flag)
        try:
            family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((place[0], 0, *place[2:]))
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "the name cannot be resolved"
            raise SettingsError(
                f"{flag} {address[:200]} cannot be listened on: {reason}", hint=f"For example {flag} 127.0.0.1:4317"
            ) from None
    if config.grpc == config.http and split_address(config.grpc, "--grpc")[1] != 0:
        raise SettingsError(f"--grpc and --http are both {config.grpc}", hint="Give each a port of its own.")


def check_reachable(address: str, flag: str, config: ReceiverConfig) -> None:
    """Refuse an address others can reach, unless they have to show who they are and nobody can listen in."""
    host, port = split_address(address, flag)
    listening.check_reachable(
        address,
        flag,
        host,
        tells_callers_apart=config.tls_client_ca is not None or bool(read_keys(config.data)),
        danger="write spans and read prompts",
        hint=f"Make a key first (spanloop receiver keys create --data {config.data} --name agents), demand client "
        f"certificates (--tls-client-ca), or bind to this machine alone ({flag} 127.0.0.1:{port}).",
        is_encrypted=config.tls_cert is not None or config.plaintext,
    )


def port_busy(address: str, flag: str) -> Busy:
    """Return the error that says who usually holds a port."""
    port = address.rpartition(":")[2]
    holder = " An OpenTelemetry Collector conventionally holds this port." if port in {"4317", "4318"} else ""
    return Busy(
        f"{address} is in use.{holder}",
        hint=f"Stop the other process, or choose another address with {flag} 127.0.0.1:PORT "
        "and point exporters there with OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
