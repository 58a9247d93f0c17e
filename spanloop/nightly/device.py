"""The one device that serves by day and trains by night: asked of the gateway, and given back."""

import threading

from foundation.errors import SpanloopError
from foundation.narration import get_logger
from spanloop.nightly.settings import NightlyConfig
from spanloop.processes import run_program, run_stage, spanloop_command

log = get_logger("nightly")

LEASE_S = 600.0
"""How long a pause lasts that is not asked for again: a night that was killed leaves serving awake after so long."""

RENEW_S = LEASE_S / 3


class Device:
    """What a night asks of the gateway where the settings say that both share a device."""

    def __init__(self, config: NightlyConfig) -> None:
        self._data = str(config.data)
        self._is_shared = config.pause
        self._given_back: threading.Event | None = None
        """Set once the device is given back; null while it is not the night's."""

        self._renewing: threading.Thread | None = None

    def before(self, step: str) -> None:
        """Take the device for the steps that compute; what is promoted needs a gateway that answers."""
        if step in ("train", "evaluate") and self._is_shared and self._given_back is None:
            self._given_back = threading.Event()
            run_stage(*self._pause)
            self._renewing = threading.Thread(target=self._renew, args=(self._given_back,), daemon=True)
            self._renewing.start()
        elif step not in ("etl", "train", "evaluate"):
            self.give_back()

    def give_back(self) -> None:
        """Let the gateway have it, however the night went."""
        if self._given_back is not None:
            self._given_back.set()
            self._given_back = None
            if self._renewing is not None:
                self._renewing.join()  # or it would ask once more after the end
            run_stage("serve", "resume", "--data", self._data)

    @property
    def _pause(self) -> tuple[str, ...]:
        return "serve", "pause", "--data", self._data, "--at-most-s", str(LEASE_S)

    def _renew(self, given_back: threading.Event) -> None:
        """Ask for the pause again and again: by processes of its own, beside the stages'."""
        while not given_back.wait(RENEW_S):
            try:
                run_program(spanloop_command(*self._pause, "--json"))
            except SpanloopError as error:
                log.warning("the pause could not be asked for again", reason=error.message)
