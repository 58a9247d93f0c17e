"""What a server asks of the system it runs on: as many files as it may have, and to be known as ready."""

import contextlib
import os
import resource
import socket


def allow_many_files() -> int:
    """Let this process hold as many files and sockets as it may at all, and return how many that is.

    The usual first limit of 1,024 is one busy fleet: every call holds two.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def notify_supervisor(state: str) -> None:
    """Tell systemd of a `Type=notify` unit how we are (`READY=1`, `STOPPING=1`); nothing where nobody asked.

    The protocol is one datagram to the socket named by the environment: sd_notify(3).
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
