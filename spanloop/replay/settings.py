"""Settings of a replay."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from foundation.settings import DEFAULT_DATA, Settings
from spanloop.replay.states import ToolsFrom


class ReplayConfig(Settings):
    """Settings of one replay."""

    data: Path = Field(default=DEFAULT_DATA)
    """Directory that holds everything; what its published transitions recorded is asked anew."""

    candidate: str
    """What is tried: the base URL of an OpenAI-compatible API (`http://host:8000/v1`), or a model directory or
    checkpoint, which is served while the replay lasts."""

    candidate_model: str | None = None
    """Name of the model at such a URL. Default: the one it lists."""

    api_key: SecretStr | None = None
    """Key of the candidate's URL. Set it as SPANLOOP_REPLAY_API_KEY: what stands on a command line, everybody on the
    machine can read."""

    against: str | None = None
    """Another URL or directory, replayed beside the candidate and compared with it. Default: what was recorded."""

    prompt: Path | None = None
    """File with a system message that takes the place of the recorded one, for the candidate alone."""

    agents: tuple[str, ...] = ()
    """Names of the agents whose states are asked anew, with * and ?, separated by commas. Default: all."""

    split: Literal["heldout", "train", "all"] = "heldout"
    """Which side of the hold-out; what a candidate was trained on it knows by heart."""

    since: datetime | None = None
    """Only episodes that began at or after this instant. Default: no limit."""

    states: int = Field(default=400, ge=1)
    """Most states to ask anew; whole tasks are chosen by hash, the same ones again."""

    tools_from: ToolsFrom = "episode"
    """Where a tool's answer may be taken from, by its name and arguments: the `episode` itself; the other attempts at
    the `task` too; or `all` of the data, for tools that always answer alike. Of other episodes only what all of them
    were told alike is taken."""

    score: Literal["auto", "outcomes", "checks"] = "auto"
    """How states are scored where neither --reward-sql nor --judge says. `outcomes`: as recorded attempts ended that
    gave the same answer. `checks`: it ended, says something, refuses nothing, and its tool calls fit the tools. `auto`:
    outcomes where there are any."""

    reward_sql: Path | None = None
    """Directory of reward queries, as the ETL takes them, run over the spans of the replayed conversations."""

    judge: str | None = None
    """Base URL of an OpenAI-compatible API whose model scores answers, 0 to 1."""

    judge_model: str | None = None
    """Name of the judge's model. Default: the one it lists."""

    judge_api_key: SecretStr | None = None
    """Key of the judge's URL: SPANLOOP_REPLAY_JUDGE_API_KEY."""

    margin: float = Field(default=0.1, ge=0)
    """How much less than it is compared with a candidate may score and still be as good, in units of the score."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature. Default: as each state was recorded."""

    teacher_price: tuple[float, float] | None = None
    """Price of a million tokens of prompt and of answer of what was recorded, for the column of costs."""

    candidate_price: tuple[float, float] | None = None
    """The same of the candidate."""

    engine: Literal["auto", "vllm", "embedded"] = "auto"
    """What runs a candidate that is a directory, as `spanloop serve run` has it."""

    concurrency: int = Field(default=8, ge=1)
    """States asked at once."""

    seed: int = 0
    """Seed of everything that is drawn; sampling repeats where the endpoint keeps to the seed it is given."""

    gate: bool = False
    """Write the verdict into the manifest of a candidate that is a checkpoint of ours, as `spanloop train evaluate`
    does: for calls that are known as text replay is the judge. Exit status 3 unless it passed."""

    @field_validator("agents", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
            return tuple(part.strip() for name in names for part in name.split(",") if part.strip())
        return value
