"""The one device that serves by day and trains by night: asked of the gateway, and given back."""

from spanloop.nightly.settings import NightlyConfig
from spanloop.processes import run_stage


class Device:
    """What a night asks of the gateway where the settings say that both share a device."""

    def __init__(self, config: NightlyConfig) -> None:
        self._data = str(config.data)
        self._is_shared = config.pause
        self._is_ours = False

    def before(self, step: str) -> None:
        """Take the device for the steps that compute; what is promoted needs a gateway that answers."""
        if step in ("train", "evaluate") and self._is_shared and not self._is_ours:
            self._is_ours = True
            run_stage("serve", "pause", "--data", self._data)
        elif step not in ("etl", "train", "evaluate"):
            self.give_back()

    def give_back(self) -> None:
        """Let the gateway have it, however the night went."""
        if self._is_ours:
            run_stage("serve", "resume", "--data", self._data)
            self._is_ours = False
