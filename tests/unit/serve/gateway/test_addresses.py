import pytest

from foundation.errors import Busy, ExitStatus, SettingsError
from serve.gateway.addresses import bind, parse_address


@pytest.mark.parametrize("listen", ["0.0.0.0:8000", "[::]:8000", "10.1.2.3:8000", "example.com:8000", ":8000"])
def test_nobody_else_is_let_in_without_keys(listen: str) -> None:
    """Whatever is not loopback is refused before anything starts."""
    with pytest.raises(SettingsError, match="keys"):
        parse_address(listen)


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:http"])
def test_an_address_needs_a_port(listen: str) -> None:
    """The message shows one."""
    with pytest.raises(SettingsError, match="HOST:PORT"):
        parse_address(listen)


def test_a_busy_port_is_named() -> None:
    """Exit status 75: try again, or elsewhere."""
    with bind("127.0.0.1:0") as taken, pytest.raises(Busy) as busy:
        bind(f"127.0.0.1:{taken.getsockname()[1]}")

    assert busy.value.exit_status is ExitStatus.BUSY
    assert "--listen" in str(busy.value)
