"""The certificates both ports answer with, and those they demand."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from foundation.web.listening import tls_context
from receiver.settings import ReceiverConfig


@dataclass(frozen=True)
class Tls:
    """Certificates of the server, and of the authorities its clients' certificates must come from."""

    cert: Path
    key: Path
    client_ca: Path | None

    @classmethod
    def of(cls, config: ReceiverConfig) -> "Tls | None":
        """Return what the settings ask for, or None. Raises `SettingsError` when half of it is missing or broken."""
        if tls_context(config.tls_cert, config.tls_key, client_ca=config.tls_client_ca) is None:
            return None
        assert config.tls_cert is not None, "a context has a certificate"
        assert config.tls_key is not None, "and its key"
        return cls(config.tls_cert, config.tls_key, config.tls_client_ca)

    def context(self) -> ssl.SSLContext | None:
        """Return them for HTTP."""
        return tls_context(self.cert, self.key, client_ca=self.client_ca)

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return them for gRPC."""
        client_ca = self.client_ca.read_bytes() if self.client_ca else None
        pair = (self.key.read_bytes(), self.cert.read_bytes())
        return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)
