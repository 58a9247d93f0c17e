"""Where the receiver may listen: what others reach needs keys and a cipher, or somebody's word for it."""

import socket
from pathlib import Path

import pytest

from foundation.errors import Busy, SettingsError
from foundation.web.keys import Scope, create_key
from receiver.intake.addresses import check_reachable, check_usable, port_busy
from receiver.settings import ReceiverConfig


def test_what_others_reach_needs_keys_and_a_cipher(tmp_path: Path) -> None:
    """First the one, then the other; this machine alone needs neither."""

    def check(**settings: object) -> None:
        check_reachable("0.0.0.0:4318", "--http", ReceiverConfig.model_validate({"data": tmp_path, **settings}))

    check_reachable("127.0.0.1:4318", "--http", ReceiverConfig(data=tmp_path))
    with pytest.raises(SettingsError, match="anyone there could write"):
        check()
    create_key(tmp_path, name="agents", project="p", scopes=[Scope.INGEST])
    with pytest.raises(SettingsError, match="in the clear"):
        check()
    check(plaintext=True)


def test_addresses_nobody_can_listen_on_are_wrong_settings(tmp_path: Path) -> None:
    """No waiting makes them free; nor has one port two servers."""
    for grpc, http in (("203.0.113.1:4317", "127.0.0.1:0"), ("127.0.0.1:4317", "127.0.0.1:4317")):
        with pytest.raises(SettingsError, match="--grpc"):
            check_usable(ReceiverConfig(data=tmp_path, grpc=grpc, http=http))
    with socket.create_server(("127.0.0.1", 0)) as taken:  # busy is another matter: it may become free
        check_usable(ReceiverConfig(data=tmp_path, grpc=f"127.0.0.1:{taken.getsockname()[1]}", http="127.0.0.1:0"))


def test_the_usual_holder_of_a_port_is_named() -> None:
    """A Collector has the conventional ones."""
    assert isinstance(port_busy("127.0.0.1:4317", "--grpc"), Busy)
    assert "Collector" in port_busy("127.0.0.1:4317", "--grpc").message
    assert "Collector" not in port_busy("127.0.0.1:9999", "--grpc").message
