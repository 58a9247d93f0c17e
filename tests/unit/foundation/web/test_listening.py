"""Which addresses others reach, and what it takes to listen there."""

from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.web.listening import bracket, check_reachable, is_loopback, split_address, tls_context
from tests.certificates import certificates


def test_addresses_are_hosts_and_ports() -> None:
    """Of either family; anything else is refused with an example."""
    assert split_address("[::1]:4317", "--grpc", port=4317) == ("::1", 4317)
    assert (bracket("::1"), bracket("127.0.0.1")) == ("[::1]", "127.0.0.1")
    assert [is_loopback(host) for host in ("127.8.8.8", "::1", "localhost", "0.0.0.0", "example.com")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    for wrong in ("127.0.0.1", ":4317", "127.0.0.1:grpc", "127.0.0.1:65536", "127.0.0.1:", "127.0.0.1:²"):
        with pytest.raises(SettingsError, match="HOST:PORT"):
            split_address(wrong, "--grpc", port=4317)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com"])
def test_what_others_reach_needs_keys_and_a_cipher(host: str) -> None:
    """First the one, then the other; this machine alone needs neither."""

    def check(host: str, *, has_keys: bool, is_encrypted: bool) -> None:
        check_reachable(
            f"{host}:1", "--listen", host,
            tells_callers_apart=has_keys, danger="read prompts", hint="Make a key.", is_encrypted=is_encrypted,
        )  # fmt: skip

    with pytest.raises(SettingsError, match="anyone there could read prompts"):
        check(host, has_keys=False, is_encrypted=True)
    with pytest.raises(SettingsError, match="in the clear"):
        check(host, has_keys=True, is_encrypted=False)
    check(host, has_keys=True, is_encrypted=True)
    check("::1", has_keys=False, is_encrypted=False)


def test_half_of_a_certificate_is_no_encryption(tmp_path: Path) -> None:
    """Nothing is nothing; what lacks a part, or is no certificate, is named."""
    cert, key = certificates(tmp_path)
    assert tls_context(None, None) is None
    assert tls_context(cert, key) is not None
    for half in ((cert, None), (None, key)):
        with pytest.raises(SettingsError, match="a certificate and its key"):
            tls_context(*half)
    (tmp_path / "broken.pem").write_text("nothing")
    with pytest.raises(SettingsError, match=r"broken\.pem"):
        tls_context(tmp_path / "broken.pem", key)
