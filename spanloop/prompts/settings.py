"""Settings of looking for a better prompt."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from foundation.settings import DEFAULT_DATA, Settings
from spanloop.replay.states import ToolsFrom


class OptimiseConfig(Settings):
    """Settings of one search."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything; its published transitions are what is learned from."""

    agent: str
    """Name of the agent whose system message is looked at."""

    reflect: str
    """Base URL of the OpenAI-compatible API whose model reads what went wrong and writes proposals."""

    reflect_model: str | None = None
    """Name of that model. Default: the one the URL lists."""

    reflect_api_key: SecretStr | None = None
    """Key of that URL: SPANLOOP_PROMPTS_OPTIMISE_REFLECT_API_KEY."""

    candidate: str | None = None
    """What answers under a proposal: a base URL, or a checkpoint. Default: the gateway that serves the same --data."""

    candidate_model: str | None = None
    """Name of the model at such a URL. Default: the one it lists."""

    api_key: SecretStr | None = None
    """Key of the candidate's URL: SPANLOOP_PROMPTS_OPTIMISE_API_KEY."""

    base: Path | None = None
    """File with the system message the agent sends, `{{name}}` where it changes from call to call. Default: the one
    that is kept, else the one all its calls have."""

    score: Literal["auto", "outcomes", "checks"] = "auto"
    """How answers are scored where neither --reward-sql nor --judge says, as `spanloop replay` has it."""

    reward_sql: Path | None = None
    """Directory of reward queries, as the ETL takes them, run over the spans of the replayed conversations."""

    judge: str | None = None
    """Base URL of an OpenAI-compatible API whose model scores answers, 0 to 1."""

    judge_model: str | None = None
    """Name of the judge's model. Default: the one it lists."""

    judge_api_key: SecretStr | None = None
    """Key of the judge's URL: SPANLOOP_PROMPTS_OPTIMISE_JUDGE_API_KEY."""

    tools_from: ToolsFrom = "episode"
    """Where a tool's answer may be taken from, as `spanloop replay` has it."""

    states: int = Field(default=200, ge=16)
    """Most logged states to learn from, and as many again, held out, to judge by."""

    proposals: int = Field(default=20, ge=1)
    """Most proposals that are asked for."""

    calls: int = Field(default=600, ge=1)
    """Most states that are replayed under proposals before the best is judged."""

    level: float = Field(default=0.01, gt=0, lt=1)
    """Chance at most that a prompt that is no better is found better, on the states held out."""

    promote: bool = False
    """Make a prompt live that is found better. Default: it is kept as a version and its difference shown."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature. Default: as each state was recorded."""

    concurrency: int = Field(default=8, ge=1)
    """States asked at once."""

    seed: int = 0
    """Seed of everything that is drawn."""
