"""The certificates both ports answer with, and those they demand."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from foundation.errors import SettingsError
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
        if config.tls_cert is None and config.tls_key is None and config.tls_client_ca is None:
            return None
        if config.tls_cert is None or config.tls_key is None:
            raise SettingsError("TLS needs a certificate and its key", hint="Give both --tls-cert and --tls-key.")
        tls = cls(config.tls_cert, config.tls_key, config.tls_client_ca)
        try:
            tls.context()
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                f"the certificates cannot be used: {error}", hint="Check --tls-cert, --tls-key and --tls-client-ca."
            ) from None
        return tls

    def context(self) -> ssl.SSLContext:
        """Return them for HTTP."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        if self.client_ca:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return them for gRPC."""
        client_ca = self.client_ca.read_bytes() if self.client_ca else None
        pair = (self.key.read_bytes(), self.cert.read_bytes())
        return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)
