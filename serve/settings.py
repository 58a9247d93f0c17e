"""Settings of the serving commands."""

from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from foundation.settings import DEFAULT_DATA, Redaction, Settings


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


class PrivacyConfig(Redaction):
    """Settings of what the gateway's own spans keep of what was said."""

    capture_content: bool | None = None
    """Whether spans hold prompts, answers and their token ids. Without them nothing can be learned from a call.
    Default: OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT where it is set, else yes."""


class EndpointConfig(Settings):
    """Settings of an endpoint: what answers, and where."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    model: Path | None = None
    """Model to make live where nothing was served before. Afterwards the registry says what is live."""

    engine: Literal["auto", "vllm", "embedded"] = "auto"
    """What runs the model. `auto`: vLLM where it is installed, else the embedded engine on Transformers."""

    upstream: tuple[str, ...] = ()
    """URLs of vLLM that already runs elsewhere, each a replica with the live model; no engine is started then. Calls of
    one conversation go to the same replica."""

    upstream_api_key: SecretStr | None = None
    """Key the upstreams ask for, sent as `Authorization: Bearer`. Set it as SPANLOOP_SERVE_RUN_UPSTREAM_API_KEY: what
    stands on a command line, everybody on the machine can read."""

    allowed_media_domains: tuple[str, ...] = ()
    """Domains from which the engine may fetch media that a message names by URL. Default: none, so that media come
    inline, as `data:` URLs."""

    cors_allowed_origins: tuple[str, ...] = ()
    """Origins (`https://app.example`, or `*`) whose pages in a browser may call. Default: none."""

    listen: str = "127.0.0.1:8000"
    """Address agents reach. One that others can reach needs a key of scope `serve`, and TLS or `--plaintext`."""

    tls_cert: Path | None = None
    """Certificate chain (PEM), for https."""

    tls_key: Path | None = None
    """Its private key (PEM)."""

    plaintext: bool = False
    """Listen where others can reach it without TLS, because a mesh or proxy in between encrypts."""

    control_listen: str | None = None
    """Address where commands on other machines change what is live (their `--control`), for keys of scope `admin`; it
    answers by TLS where --listen does. Default: commands on this machine alone."""

    name: str | None = None
    """Name agents use for the model (they may add `:live`). Default: the name of the model's directory."""

    aliases: tuple[str, ...] = ()
    """Further names that mean the live model, such as one that stands in agents' code; repeat it for several. The name
    of a hosted model behind it (--fallback-model) is always one."""

    otlp_endpoint: str | None = None
    """Where the gateway's own spans go. Default: OTEL_EXPORTER_OTLP_ENDPOINT, else http://127.0.0.1:4317 (gRPC)."""

    spool_mb: int = Field(default=2048, ge=0)
    """Most that spans may take on disk (DATA/serve/spool) while the receiver is away, in MiB; 0 keeps them in memory
    alone. A call of 1,000 tokens takes 12 KB: ten minutes at 100 such calls a second take 0.7 GB."""

    strict_tools: bool = False
    """Hold answers to the schemas of tools marked `strict`, as vLLM can: it then cuts the distribution while sampling,
    and the call cannot be trained on. Agent frameworks mark every tool so by default, hence off."""

    start_timeout_s: float = Field(default=600, gt=0)
    """How long the engine may take to start. A large model on a slow disk takes minutes."""

    canary_interval_s: float = Field(default=10, gt=0)
    """How often a canary is compared with the live model, from what the receiver has stored."""

    max_adapter_rank: int = Field(default=0, ge=0)
    """Highest rank of LoRA adapters vLLM will be asked to serve; 0 starts it without support for any, unless an adapter
    is live. The embedded engine takes every rank."""

    drain_timeout_s: float = Field(default=300, gt=0)
    """How long a change of model waits for answers in flight. None of them is cut off: after this the change fails."""


class FallbackConfig(Settings):
    """Settings of the hosted model behind the student: asked when that is away, or its answer fails a check."""

    fallback: str | None = None
    """Base URL of a hosted model's OpenAI-compatible API (`https://api.example.com/v1`), asked where the live model
    cannot answer. Default: none."""

    fallback_model: str | None = None
    """Name of the model there."""

    fallback_key_env: str | None = None
    """Environment variable that holds the key asked for there."""

    fallback_key_file: Path | None = None
    """File that holds it instead."""

    fallback_checks: tuple[Literal["unparsed", "schema", "refusal", "improbable"], ...] = ()
    """What an answer of the live model must not be, separated by commas: `unparsed` (a tool call left in the text),
    `schema` (a call of a tool that was not offered, or with arguments that do not fit), `refusal`, `improbable`. One
    that is goes to the hosted model instead. Streams are then held back until they are whole."""

    fallback_min_logprob: float = Field(default=-2.0, le=0)
    """Mean log-probability of an answer's tokens below which it is `improbable`."""

    fallback_hold_streams: bool = True
    """Hold streams back until they passed the checks; else they go out unchecked, as they come."""

    fallback_share: float = Field(default=0.0, ge=0, le=1)
    """Part of the users, episodes, traces or conversations that stay with the hosted model."""

    fallback_after_s: float | None = Field(default=None, gt=0)
    """How long the live model may take until its answer is there, or a stream begins. Default: until its engine is
    found to hang, within 30 s."""

    @field_validator("fallback_checks", mode="before")
    @classmethod
    def _split_checks(cls, value: object) -> object:
        found = value if isinstance(value, list | tuple) else [value]
        return [part for each in found for part in (each.split(",") if isinstance(each, str) else [each])]

    @model_validator(mode="after")
    def _check_fallback(self) -> Self:
        if self.fallback is not None and not self.fallback_model:
            raise ValueError("fallback_model must name the model at --fallback")
        if self.fallback is None and (self.fallback_model or self.fallback_checks or self.fallback_share):
            raise ValueError("fallback must say where the hosted model is asked")
        if self.fallback_key_env is not None and self.fallback_key_file is not None:
            raise ValueError("fallback_key_env and fallback_key_file exclude each other")
        return self


class ServeConfig(FallbackConfig, GateConfig, PrivacyConfig, EndpointConfig):
    """Settings of the serving process."""

    model_config = ConfigDict(allow_inf_nan=False)

    @property
    def known_as(self) -> tuple[str, ...]:
        """Every further name of the live model: agents of a hosted model go on asking for that one."""
        return self.aliases if self.fallback_model is None else (*self.aliases, self.fallback_model)


class CanaryConfig(Settings):
    """Settings of a canary."""

    model_config = ConfigDict(allow_inf_nan=False)

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""

    share: float | None = Field(default=None, gt=0, lt=1)
    """Part of the users, episodes or traces the checkpoint answers at first. Default: the first of `shares`."""

    shares: tuple[float, ...] = (0.01, 0.05, 0.25)
    """Parts it answers one after the other, separated by commas, before it answers all."""

    hold: bool = False
    """Stay at the first share until somebody promotes or rolls back; what is significantly worse is rolled back."""

    units: int = Field(default=200, ge=1)
    """Users, episodes or traces that must be observed with either model before the share grows."""

    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance that a checkpoint as good as the live one is rolled back, at most, however often one looks."""

    reward: str = "outcome"
    """Name of the reward both are compared by. Empty: errors, unread tool calls and slow calls alone."""

    margin: float | None = Field(default=None, gt=0, lt=1)
    """Margin of non-inferiority, as a part of the reward's range: the checkpoint answers all calls only once it is
    known to earn no less than this below the live model, at the level `alpha`; with 0.1 some 600 units of either tell.
    Default: it is enough not to be seen to be worse."""

    reward_low: float = 0.0
    """Lowest value of the reward; what is below counts as this."""

    reward_high: float = 1.0
    """Highest value of the reward; what is above counts as this."""

    @field_validator("shares", mode="before")
    @classmethod
    def _split_shares(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            return [part for each in value for part in (each.split(",") if isinstance(each, str) else [each])]
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (
            not self.shares
            or list(self.shares) != sorted({*self.shares})
            or not 0 < self.shares[0] <= self.shares[-1] < 1
        ):
            raise ValueError("shares must ascend between 0 and 1, both exclusive")
        if self.reward_low >= self.reward_high:
            raise ValueError("reward_low must be below reward_high")
        if self.margin is not None and not self.reward:
            raise ValueError("margin is of the reward: name one")
        return self


class RegistryConfig(Settings):
    """Settings of the commands that read or change what is live."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything: spans, dataset, checkpoints, registry."""


class PauseConfig(RegistryConfig):
    """Settings of a pause."""

    at_most_s: float = Field(default=43_200, gt=0, le=604_800)
    """Seconds after which it ends by itself: whoever asked for it may have been killed."""
