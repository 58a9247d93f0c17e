"""The settings of the page."""

from pathlib import Path

from pydantic import Field

from foundation.settings import DEFAULT_DATA, Settings


class PageConfig(Settings):
    """Settings of the page."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    listen: str = "127.0.0.1:8317"
    """Address to listen on. One that others can reach needs keys, and TLS or `--plaintext`."""

    tls_cert: Path | None = None
    """Certificate chain (PEM), for https."""

    tls_key: Path | None = None
    """Its private key (PEM)."""

    plaintext: bool = False
    """Listen where others can reach it without TLS, because a mesh or proxy in between encrypts."""

    session_hours: float = Field(default=12, gt=0, le=720)
    """How long a login lasts without a request."""
