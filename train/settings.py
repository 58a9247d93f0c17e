"""The settings of a training run and of an evaluation."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from cyclopts import Group, Parameter
from pydantic import Field, field_validator, model_validator

from foundation.errors import SettingsError
from foundation.settings import DEFAULT_DATA, Settings
from train.recipes import Recipe, fill

LossName = Literal[
    "auto",
    "awr",
    "cispo",
    "dapo",
    "dpo",
    "dr_grpo",
    "dro",
    "grpo",
    "gspo",
    "kto",
    "ppo",
    "reinforce",
    "rft",
    "rloo",
    "topr",
]
CreditName = Literal["gae", "return_to_go", "identical"]
Baseline = Literal["value", "leave_one_out", "group_mean", "midrange", "role_ema", "none"]
Scale = Literal["none", "role_std", "group_std"]
Correction = Literal["none", "token_truncate", "token_mask", "call_truncate", "call_mask", "call_band"]
Estimator = Literal["k1", "k2", "k3", "smaller"]
Cluster = Literal["task", "user", "episode"]
OptimizerName = Literal["standout", "adamw"]

TOKENS_PER_BATCH = 8192
"""Tokens of a forward pass where nothing else is asked for and memory suffices."""

NEEDED = Parameter(group=Group("What people need", sort_key=0))
DATA = Parameter(group=Group("What is learned from", sort_key=1))
METHOD = Parameter(group=Group("Method: a recipe sets these", sort_key=2))
STEP = Parameter(group=Group("How far, how fast", sort_key=3))
ADAPTERS = Parameter(group=Group("Adapters", sort_key=4))
MACHINE = Parameter(group=Group("Machine", sort_key=5))
EXPERIMENTAL = Parameter(group=Group("Experimental: nobody has measured that it helps", sort_key=6))


class TrainConfig(Settings):
    """Settings of one training run."""

    data: Annotated[Path, NEEDED] = DEFAULT_DATA
    """Directory that holds everything; training reads its published transitions and nothing else. Or the URL of a
    store: what is published there is copied below `spanloop-data`, where the checkpoint appears, and with --store it is
    pushed to the store that names."""

    model: Annotated[Path, NEEDED]
    """Model directory to start from: a checkpoint of ours, or any Hugging Face causal language model. With the URL of a
    store as data, the name of a checkpoint in it does as well."""

    out: Annotated[Path | None, NEEDED] = None
    """Where the checkpoint directory appears. Default: DATA/checkpoints."""

    recipe: Annotated[Recipe, NEEDED] = "lightning"
    """Named set of values; settings that are given win over it. `lightning`: the defaults, credit by call and loss by
    evidence. `window`: one pass, both signs, for windows of minutes. `grpo`, `ppo`, `rloo`: as their papers have it.
    `offline`: calls of former versions and text. `imitate`: what went well of another model. `feedback`
    (experimental): what was said of calls in words as well."""

    agents: Annotated[tuple[str, ...], NEEDED] = ()
    """Names of the agents to train, with * and ? as wildcards, separated by commas. Default: all. The calls of the
    others are not trained, and their rewards still count."""

    since: Annotated[datetime | None, DATA] = None
    """Only episodes that began at or after this instant (UTC unless it says otherwise). Default: no limit."""

    again: Annotated[bool, DATA] = False
    """Imitate once more the text that the model, or a checkpoint it comes from, was trained on. By default each night
    imitates what is new."""

    heldout_share: Annotated[float, DATA] = Field(default=0.0, ge=0, le=0.5)
    """Share of the tasks with something to learn from that is kept out of training. After every pass the loss of what
    went well at them is measured: once it rises, training ends with the weights of the pass before. Of fewer than eight
    tasks none is kept out. Default: none; with `imitate` a tenth."""

    max_version_lag: Annotated[int, DATA] = Field(default=0, ge=0)
    """How many checkpoints back the policy that sampled a call may lie: 0 is the model being trained itself, 1 its
    parent too. Older calls are further off-policy and need the ratio's correction more."""

    loss: Annotated[LossName, METHOD] = "auto"
    """Loss on the sampled tokens. `auto` chooses call by call, by what is known of its sampling, and says what went
    where; for calls that are recorded exactly that is `cispo`, which bounds the weight of a token and keeps its
    gradient, so an epoch over old calls still teaches; `ppo` and `grpo` silence a token once it has moved."""

    credit: Annotated[CreditName, METHOD] = "gae"
    """How rewards reach calls. `gae`: the outcome, the intermediate rewards of a call and of what it led to, less what
    could be expected before it, with what is expected after it in part of what came. `return_to_go`: what came, alone.
    `identical`: the outcome alone, the same for all calls of an episode."""

    baseline: Annotated[Baseline, METHOD] = "value"
    """What a return is compared with. `value`: a value fitted on the calls of other tasks, by what was known before
    each call. `leave_one_out`, `group_mean`: the mean of the other episodes of its task, or of all of them.
    `midrange`: the middle of all outcomes, or nothing where all are alike. `role_ema` (experimental): a moving average
    of what the role earned before. `none`: nothing."""

    gae_lambda: Annotated[float, METHOD] = Field(default=0.9, ge=0, le=1)
    """Of `gae`: how much of what came counts beside what was expected after each call; 1 is all of it."""

    scale: Annotated[Scale, METHOD] = "none"
    """What advantages are divided by. `role_std`: the deviation of all advantages of the role in the window.
    `group_std`: outcome advantages by the deviation of the task's outcomes, as GRPO does, which favours tasks that
    nearly always fail or succeed; intermediate rewards are never divided by a group's."""

    shrinkage: Annotated[float, METHOD] = Field(default=4.0, ge=0)
    """Weight, in episodes, of the mean over other tasks in a task's baseline: few attempts make a noisy mean. With 0 an
    episode whose task was attempted once teaches nothing."""

    negative: Annotated[float, METHOD] = Field(default=1.0, ge=0, le=1)
    """Weight of negative advantages. 1 is the plain policy gradient; below it a run learns more from what worked better
    than its baseline than from what did not, which protects where few calls are read many times by `adamw`
    (arXiv:2506.20520; measured in docs/training.md)."""

    air: Annotated[float, METHOD] = Field(default=1.0, ge=0)
    """Weight of the intermediate rewards beside the outcome; 0 ignores them."""

    air_cap: Annotated[float, METHOD] = Field(default=0.49, ge=0)
    """Largest sum of the intermediate rewards of an episode, gains and losses each, as a share of the range of
    outcomes. Below one half none makes a failure better than a success."""

    air_gate: Annotated[Literal["none", "outcome"], EXPERIMENTAL] = "none"
    """`outcome` drops the intermediate rewards of tasks whose attempts all ended alike, where they would be all there
    is to tell attempts apart."""

    overlong_tokens: Annotated[int | None, EXPERIMENTAL] = Field(default=None, ge=1)
    """Tokens from which an answer is too long: its call earns -1 as an intermediate reward, and part of that in the
    last `overlong_share` before it (DAPO's soft overlong punishment). Default: length earns nothing."""

    overlong_share: Annotated[float, EXPERIMENTAL] = Field(default=0.2, gt=0, le=1)
    """Share of `overlong_tokens` over which that grows from 0 to 1; DAPO takes 4096 of 20480."""

    adapter: Annotated[Literal["none", "lora"], NEEDED] = "none"
    """Train all weights (`none`), or freeze them and train a low-rank adapter: a few megabytes a checkpoint, and an
    optimiser as small. A model that is an adapter already goes on being one."""

    adapter_per_agent: Annotated[bool, ADAPTERS] = False
    """Train one adapter for each agent the data names, each from the same base and in a checkpoint of its own."""

    lora_rank: Annotated[int, ADAPTERS] = Field(default=32, ge=1)
    """Rank of the adapter."""

    lora_alpha: Annotated[float, ADAPTERS] = Field(default=64.0, gt=0)
    """Scale of the adapter: its product counts `lora_alpha / lora_rank` times."""

    lora_targets: Annotated[tuple[str, ...], ADAPTERS] = ("all-linear",)
    """Modules that get an adapter, by name, separated by commas. Default: every linear layer but the head; attention
    alone is reported to learn more slowly (LoRA Without Regret, 2025)."""

    merge: Annotated[bool, ADAPTERS] = False
    """Publish the adapter merged into its base, as a whole model that any engine loads."""

    optimizer: Annotated[OptimizerName | None, STEP] = None
    """How weights are moved. `standout`: once a pass, those whose gradient stands out of the noise between the night's
    batches, as far as the KL budget allows. `adamw`: update by update. Default: `standout` where the calls were sampled
    by the model itself or a parent, and none of the settings of AdamW is given."""

    learning_rate: Annotated[float | None, STEP] = Field(default=None, gt=0)
    """Largest learning rate of AdamW. Default: by the model's width, 3e-4 x (128 / hidden size)^1.5 to begin with, so
    1e-5 for a 0.6 B and 2e-6 for an 8 B model, ten times that for an adapter; up to four times as much where the pace
    of the KL budget allows it."""

    epochs: Annotated[int, STEP] = Field(default=2, ge=1)
    """Passes over the episodes. The KL budget is spread over all of them: more passes make smaller steps, and follow
    more of what is chance in these very episodes."""

    episodes_per_update: Annotated[int | None, STEP] = Field(default=None, ge=1)
    """Episodes in one optimiser step of AdamW. Default: 64."""

    tokens_per_update: Annotated[int | None, STEP] = Field(default=None, ge=1)
    """Trained tokens in one optimiser step, on average, in place of `episodes_per_update`: the number of episodes then
    follows from how long this window's are."""

    clip_low: Annotated[float | None, METHOD] = Field(default=None, ge=0, le=1)
    """How far below 1 the ratio to the behavior policy counts. Default: 1 for `cispo`, 0.0003 for `gspo`, else 0.2."""

    clip_high: Annotated[float | None, METHOD] = Field(default=None, ge=0)
    """How far above 1. Default: 1 for `cispo`, 0.28 for `dapo`, 0.0004 for `gspo`, else 0.2."""

    dual_clip: Annotated[float, METHOD] = Field(default=3.0, gt=1)
    """Bound on the ratio of bad actions in `ppo`, where the plain clip has none."""

    token_critic: Annotated[bool, EXPERIMENTAL] = False
    """Give every token of `ppo` an advantage of its own: the return of its call, as `credit` has it, against the value
    of the state before the token. The value is learned beside the policy, from the states of its last layer, and takes
    the place of the baseline and its scale."""

    token_lambda: Annotated[float, EXPERIMENTAL] = Field(default=1.0, ge=0, le=1)
    """Of `token_critic`: how much of the call's return counts beside the values of the states on the way to it. Below 1
    a long call's first tokens hear of its return only through values."""

    feedback: Annotated[float, EXPERIMENTAL] = Field(default=0.0, ge=0)
    """Weight of what was said in words: told the explanations of a call's scores and the errors of its tools, the model
    finds each token it had sampled likelier or not, and that, in nats and at most 1, is added to the token's advantage
    (arXiv:2601.20802). Default: words teach nothing."""

    beta: Annotated[float | None, METHOD] = Field(default=None, gt=0)
    """Temperature of the weights of `awr`, or strength of the pull to the starting model in `dro`, `dpo` and `kto`.
    Default: for `awr` one that leaves half of the calls effective, 1 for `dro`, 0.1 for `dpo` and `kto`."""

    correction: Annotated[Correction, EXPERIMENTAL] = "none"
    """For calls that an earlier version sampled: `none` leaves it to the loss's own ratio; the others weigh tokens or
    calls by how much likelier the starting model was to sample them, and count the ratio from there. `token_truncate`
    and `call_truncate` bound that weight; `token_mask`, `call_mask` and `call_band` leave out what lies beyond."""

    correction_cap: Annotated[float, EXPERIMENTAL] = Field(default=2.0, gt=1)
    """Bound of that weight, and its inverse below."""

    behavior_kl: Annotated[float, EXPERIMENTAL] = Field(default=0.0, ge=0)
    """Weight of the divergence from the behavior policy in the loss of every trained token."""

    reference_kl: Annotated[float, METHOD] = Field(default=0.0, ge=0)
    """Weight of the divergence from the starting model in the loss of every trained token."""

    kl_estimator: Annotated[Estimator, METHOD] = "smaller"
    """How these two are estimated from one sample: `k1`, `k2`, `k3`, or the `smaller` of the last two."""

    kl_budget: Annotated[float, STEP] = Field(default=1.0, gt=0)
    """How far the policy may come from the one the run began with: nats a call, mean over a sample of the logged calls;
    for calls of more than 32 tokens it grows with the root of their length, and it is at most 0.4 of a call's entropy.
    It is spread over the run's updates, and the step follows: what leads too far is gone back from. The further away,
    the less the logged calls say of the new policy: half a nat leaves about 0.4 of them effective."""

    max_grad_norm: Annotated[float, STEP] = Field(default=1.0, gt=0)
    """Gradient norm above which gradients are scaled down."""

    warmup_updates: Annotated[int, EXPERIMENTAL] = Field(default=0, ge=0)
    """Updates of AdamW over which its learning rate grows evenly to what it would be. Default: none; how far the first
    steps lead is held by the KL budget's pace anyway."""

    weight_decay: Annotated[float, STEP] = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""

    max_mismatch: Annotated[float, DATA] = Field(default=0.05, gt=0)
    """Refuse when the model's own log-probabilities of what it sampled differ from the recorded ones by more than this,
    mean of absolute differences in nats a token: wrong weights, tokenizer or sampling parameters are behind it."""

    min_episodes: Annotated[int, DATA] = Field(default=32, ge=1)
    """Refuse to train on fewer episodes that have an outcome and exactly recorded calls."""

    min_informative: Annotated[int, DATA] = Field(default=16, ge=1)
    """Refuse when fewer episodes have an advantage: the others teach nothing."""

    max_memory: Annotated[float | None, MACHINE] = Field(default=None, gt=0)
    """Memory of the device a run may take, GiB. What will not fit is refused before it starts.
    Default: what is free."""

    tokens_per_batch: Annotated[int | None, MACHINE] = Field(default=None, ge=1)
    """Tokens in one forward pass; changes memory and speed, never the result. Default: what memory allows, at most
    8192."""

    gradient_checkpointing: Annotated[bool, MACHINE] = False
    """Compute activations anew in the backward pass instead of keeping them: a third more time, far less memory."""

    resume: Annotated[bool, MACHINE] = True
    """Go on where an interrupted run of the same settings on the same data stopped, to the very weights it would have
    had. False starts anew."""

    save_interval_s: Annotated[float, MACHINE] = Field(default=300.0, ge=0)
    """Seconds between the states a killed run can go on from; 0 keeps one after every update."""

    log_with: Annotated[tuple[str, ...], MACHINE] = ()
    """Trackers of Accelerate that get the metrics beside `metrics.jsonl`: `tensorboard`, `wandb`, `mlflow`, `trackio`
    and others, separated by commas, each installed by you."""

    dtype: Annotated[Literal["float32", "bfloat16"] | None, MACHINE] = None
    """Precision of the computation; weights and optimiser stay in float32. Default: bfloat16 on a GPU, else float32."""

    save_dtype: Annotated[Literal["float32", "bfloat16"] | None, MACHINE] = None
    """Precision of a whole model's weights as they are served. With `bfloat16` what float32 has beyond that stands
    beside them, and the next training goes on from it: nothing is rounded twice. Default: that of the computation."""

    seed: Annotated[int, STEP] = 0
    """Seed of the order of episodes."""

    @model_validator(mode="before")
    @classmethod
    def _follow_recipe(cls, given: object) -> object:
        return fill(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _adapters_where_asked_by_agent(self) -> Self:
        if self.adapter_per_agent and self.adapter == "none":
            raise ValueError("adapter_per_agent needs adapters: ask for them with adapter lora")
        return self

    @model_validator(mode="after")
    def _credit_fits_its_baseline(self) -> "TrainConfig":
        if self.credit == "gae" and self.baseline != "value":
            raise SettingsError(
                f"credit gae needs baseline value, not {self.baseline}",
                hint="--credit return_to_go takes any baseline.",
            )
        if self.credit == "identical" and self.baseline == "value":
            raise SettingsError(
                "credit identical compares episodes, and baseline value is of single calls",
                hint="Choose --baseline leave_one_out or group_mean.",
            )
        if self.overlong_tokens is not None and self.credit == "identical":
            raise SettingsError(
                "overlong_tokens is an intermediate reward, and credit identical knows none",
                hint="Choose --credit return_to_go.",
            )
        if self.scale == "group_std" and self.baseline not in ("leave_one_out", "group_mean"):
            raise SettingsError(
                f"scale group_std needs a baseline of the group, not {self.baseline}",
                hint="Choose --credit return_to_go --baseline leave_one_out or group_mean.",
            )
        return self

    @model_validator(mode="after")
    def _token_critic_is_of_ppo(self) -> Self:
        if self.token_critic and self.loss != "ppo":
            raise SettingsError(
                f"token_critic is a part of loss ppo, and loss is {self.loss}",
                hint="Add --loss ppo, or leave --token-critic out: the other losses take one advantage a call.",
            )
        if self.token_critic and self.feedback:
            raise SettingsError(
                "feedback adds to advantages of calls, and token_critic gives each token its own",
                hint="Choose one of them.",
            )
        if self.token_critic and self.scale != "none":
            raise SettingsError(
                f"scale {self.scale} divides the advantages of calls, and token_critic gives each token its own",
                hint="Choose --scale none.",
            )
        return self

    @field_validator("agents", "lora_targets", "log_with", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        names = [value] if isinstance(value, str) else value
        if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
            return tuple(part.strip() for name in names for part in name.split(",") if part.strip())
        return value


class EvaluateConfig(Settings):
    """Settings of one evaluation."""

    data: Path = DEFAULT_DATA
    """Directory that holds everything; the held-out transitions in it are what the checkpoint is judged on."""

    checkpoint: Path
    """Checkpoint directory to judge; its manifest gets the verdict."""

    against: Path | None = None
    """Model directory to compare with, such as what is live. Default: the model the checkpoint was trained from."""

    inconclusive: Literal["refuse", "canary", "accept"] = "refuse"
    """What becomes of a checkpoint that the held-out calls neither speak for nor against. `refuse`: status 3. `canary`:
    status 0, and `spanloop serve canary` takes it, while `promote` does not. `accept`: `promote` takes it too."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of the interval around the estimated gain."""

    max_kl: float = Field(default=1.0, gt=0)
    """Distance, in nats a held-out call, beyond which the calls are too few to tell: the verdict is `inconclusive`."""

    min_ess: float = Field(default=0.3, ge=0, le=1)
    """Effective share of held-out calls, after weighting, below which the same holds."""

    min_episodes: int = Field(default=16, ge=2)
    """Held-out episodes below which the same holds."""

    most_episodes: int | None = Field(default=None, ge=2)
    """Judge by the newest so many held-out episodes, for a verdict that costs little. Default: all of the live policy's
    and, where these are few, of those before it."""

    max_nll_rise: float = Field(default=0.1, ge=0)
    """Refuse a policy that finds the held-out calls that went well less likely than what it is compared with does, by
    more nats a token than this."""

    cluster: Cluster = "task"
    """What counts as one observation: all attempts at a task, all episodes of a user (one without a user by itself), or
    single episodes, where every one is of a user and a task of its own."""

    tokens_per_batch: int = Field(default=TOKENS_PER_BATCH, ge=1)
    """Tokens in one forward pass."""
