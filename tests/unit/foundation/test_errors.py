"""What the end of a command means to a scheduler."""

import pytest

from foundation.errors import Busy, ExitStatus, GateRefused, SettingsError, SpanloopError


@pytest.mark.parametrize(("kind", "status"), [(SpanloopError, 1), (SettingsError, 2), (GateRefused, 3), (Busy, 75)])
def test_each_error_ends_a_command_with_its_status(kind: type[SpanloopError], status: int) -> None:
    """And says its way out, where there is one."""
    assert kind("no").exit_status == ExitStatus(status)
    assert str(kind("no", hint="Do so.")) == "no\nhint: Do so."
    assert str(kind("no")) == "no"
