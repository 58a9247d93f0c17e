from pathlib import Path

import pytest

from foundation.errors import Busy, ExitStatus, SettingsError
from serve.gateway.addresses import bind, check_address
from serve.settings import ServeConfig


@pytest.mark.parametrize("listen", ["0.0.0.0:8000", "[::]:8000", "10.1.2.3:8000", "example.com:8000"])
def test_others_are_let_in_with_keys_and_a_cipher(tmp_path: Path, listen: str) -> None:
    """Whatever is not loopback is refused before anything starts, until both are there or a proxy encrypts."""
    model = tmp_path / "model"
    wide = ServeConfig(data=tmp_path, model=model, listen=listen)
    with pytest.raises(SettingsError, match="anyone there could use the model"):
        check_address(wide, has_keys=False)
    with pytest.raises(SettingsError, match="in the clear"):
        check_address(wide, has_keys=True)
    check_address(wide.model_copy(update={"plaintext": True}), has_keys=True)
    check_address(wide.model_copy(update={"tls_cert": model, "tls_key": model}), has_keys=True)
    check_address(ServeConfig(data=tmp_path, model=model), has_keys=False)


def test_a_busy_port_is_named() -> None:
    """Exit status 75: try again, or elsewhere."""
    with bind("127.0.0.1:0") as taken, pytest.raises(Busy) as busy:
        bind(f"127.0.0.1:{taken.getsockname()[1]}")

    assert busy.value.exit_status is ExitStatus.BUSY
    assert "--listen" in str(busy.value)
