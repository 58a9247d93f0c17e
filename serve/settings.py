"""Settings of the serving commands."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from foundation.settings import DEFAULT_DATA, Settings


class GateConfig(Settings):
    """Settings of the gate on behavior: what new weights may change in how held-out prompts are answered."""

    gate_prompts: int = Field(default=64, ge=0)
    """Held-out prompts that are answered with old and new weights before a promotion; 0 leaves this gate out."""

    gate_tokens: int = Field(default=128, ge=1)
    """Longest answer to one of them. Calls wait meanwhile where weights change in place."""

    max_parse_drop: float = Field(default=0.02, ge=0, le=1)
    """By how much the share of answers whose tool calls can be read may fall."""

    max_schema_drop: float = Field(default=0.02, ge=0, le=1)
    """By how much the share of answers whose tool calls fit the tools' schemas may fall."""

    max_call_drop: float = Field(default=0.2, ge=0, le=1)
    """By how much the share of answers that call a tool may fall, where tools are offered."""

    max_refusal_rise: float = Field(default=0.02, ge=0, le=1)
    """By how much the share of refusals may rise."""

    max_cut_rise: float = Field(default=0.1, ge=0, le=1)
    """By how much the share of answers longer than --gate-tokens may rise."""

    max_length_factor: float = Field(default=2.0, ge=1)
    """By which factor answers may become longer or shorter, on average."""


class ServeConfig(GateConfig):
    """Settings of the serving process."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    model: Path | None = None
    """Model to make live where nothing was served before. Afterwards the registry says what is live."""

    engine: Literal["auto", "vllm", "embedded"] = "auto"
    """What runs the model. `auto`: vLLM where it is installed, else the embedded engine on Transformers."""

    upstream: tuple[str, ...] = ()
    """URLs of vLLM that already runs elsewhere, each a replica with the live model; no engine is started then. Calls of
    one conversation go to the same replica."""

    listen: str = "127.0.0.1:8000"
    """Address agents reach. Loopback only, as long as no key has the scope `serve`."""

    name: str | None = None
    """Name agents use for the model (they may add `:live`). Default: the name of the model's directory."""

    otlp_endpoint: str | None = None
    """Where the gateway's own spans go. Default: OTEL_EXPORTER_OTLP_ENDPOINT, else http://127.0.0.1:4317 (gRPC)."""

    strict_tools: bool = False
    """Hold answers to the schemas of tools marked `strict`, as vLLM can: it then cuts the distribution while sampling,
    and the call cannot be trained on. Agent frameworks mark every tool so by default, hence off."""

    start_timeout_s: float = Field(default=600, gt=0)
    """How long the engine may take to start. A large model on a slow disk takes minutes."""

    drain_timeout_s: float = Field(default=300, gt=0)
    """How long a change of model waits for answers in flight. None of them is cut off: after this the change fails."""


class RegistryConfig(Settings):
    """Settings of the commands that read or change what is live."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""
