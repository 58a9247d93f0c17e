"""`spanloop prompts optimise`: a better system message, found in what was logged and proved on what was held out."""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import SecretStr

from foundation.errors import ExitStatus, GateRefused, SettingsError
from foundation.files import read_prompt
from foundation.narration import get_logger
from foundation.report import RunReport
from serve.prompts.schema import AS_SENT, AgentPrompt, Template, difference, read_prompts, read_version
from serve.schema import read_server
from spanloop.processes import run_stage
from spanloop.prompts.judged import Judged, judge
from spanloop.prompts.logged import Case, cases_of, find_base
from spanloop.prompts.reflection import Reflection
from spanloop.prompts.search import Attempt, search
from spanloop.prompts.settings import OptimiseConfig
from spanloop.replay.asking import Ask, Endpoint, find_model, is_url
from spanloop.replay.candidate import opened
from spanloop.replay.run import choose_score
from spanloop.replay.scoring import Score
from spanloop.replay.settings import ReplayConfig
from spanloop.replay.states import State, longest_answer, read_states
from spanloop.replay.trial import Trial, attempt

log = get_logger("prompts")

LEAST_STATES = 8
"""Logged states of either side without which nothing is looked for."""

NEVER = "2000-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Material:
    """What a search is made with."""

    prompt: AgentPrompt
    is_kept: bool
    """The registry knows what the agent sends."""

    live: Template
    learned: list[Case]
    chosen: list[Case]
    held_out: list[Case]

    @property
    def base(self) -> Template:
        """What the agent sends."""
        return Template(self.prompt.base, self.prompt.is_template)


def optimise(
    *,
    config: Annotated[OptimiseConfig, Parameter(name="*")],
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Look for a better prompt of an agent in what was logged; keep it as a version where it is proved to be better.

    A model reads logged conversations with their scores and proposes; proposals are tried by replay, and the best one
    is judged on states that were held out. Nothing is promoted unless --promote says so. Exit status 3 where what was
    found is not known to be better.

    Example: spanloop prompts optimise --agent solver --data traces --reflect http://127.0.0.1:9000/v1

    Parameters
    ----------
    as_json
        Print the report on stdout.
    dry_run
        Say what would be learned from; ask nobody.
    """
    report = RunReport("prompts optimise", config.model_dump(mode="json"))
    material = gather(config)
    counts = {"num_learned": len(material.learned), "num_chosen": len(material.chosen)}
    report.update(**counts, num_held_out=len(material.held_out), live=material.prompt.live)
    log.info("states", **counts, held_out=len(material.held_out), live=material.prompt.live)
    status = ExitStatus.DONE
    if not dry_run:
        text, judged = _try(config, material, report)
        if text is not None and judged is not None:
            names = (f"{config.agent}/{material.prompt.live}", f"{config.agent}/proposed")
            sys.stderr.write(difference(material.live.text, text, names))
            if judged.is_better:
                _keep(config, material, text, judged, report)
            else:
                status = ExitStatus.REFUSED
        elif text is None:
            log.info("no proposal was better")
    if as_json:
        report.print(status)
    if status is ExitStatus.REFUSED and judged is not None:
        raise GateRefused(judged.reason, hint="What is live stays. More logged states would tell, or more --proposals.")


def gather(config: OptimiseConfig) -> Material:
    """Read what was logged, and under which prompt; say what is missing."""
    sides = {
        split: read_states(
            config.data, agents=(config.agent,), split=split, tools_from=config.tools_from, limit=config.states
        )
        for split in ("train", "heldout")
    }
    every = [state for states in sides.values() for state in states]
    kept = read_prompts(config.data).of(config.agent)
    prompt = kept
    if prompt is None or config.base is not None:
        base = find_base(every, config.agent) if config.base is None else read_prompt(config.base)
        Template(base, config.base is not None).check()
        if kept is None or kept.base != base:
            prompt = AgentPrompt(agent=config.agent, base=base, is_template=config.base is not None, changed_time=NEVER)
    assert prompt is not None, "kept, or made"
    texts = {AS_SENT: Template(prompt.base, prompt.is_template)}
    for number in range(1, prompt.newest + 1 if prompt is kept else 1):
        if (version := read_version(config.data, config.agent, number)) is not None:
            texts[number] = Template(version.text, prompt.is_template)
    if prompt.live not in texts:
        raise SettingsError(f"version {prompt.live} of {config.agent}'s prompt is live, and its file is gone")
    cases = {split: cases_of(states, prompt, texts) for split, states in sides.items()}
    for split, found in cases.items():
        if len(found) < LEAST_STATES:
            raise GateRefused(
                f"{len(found)} logged states of {config.agent} on the side {split} have its system message as text, "
                f"{LEAST_STATES} at least",
                hint=f"{len(sides[split])} were read. --base FILE says what it sends, {{{{name}}}} where that changes.",
            )
    learned, chosen = _in_two(cases["train"])
    return Material(prompt, prompt is kept, texts[prompt.live], learned, chosen, cases["heldout"])


def _in_two(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Part states by task: those proposals are made from, and those they are compared on."""
    tasks = list(dict.fromkeys(case.state.task for case in cases))
    first = set(tasks[::2])
    parts = (
        [case for case in cases if case.state.task in first],
        [case for case in cases if case.state.task not in first],
    )
    return parts if all(parts) else (list(cases), list(cases))


def _try(config: OptimiseConfig, material: Material, report: RunReport) -> tuple[str | None, Judged | None]:
    every = [case.state for case in [*material.learned, *material.chosen, *material.held_out]]
    score = choose_score(_scoring(config), every)
    candidate = config.candidate or _gateway(config)
    key = _secret(config.api_key)
    limit = longest_answer(every)
    with opened(candidate, model=config.candidate_model, key=key, replay="prompts", max_tokens=limit) as ask:

        def replay(states: Sequence[State]) -> Trial:
            return attempt(
                states, ask, score, seed=config.seed, temperature=config.temperature, concurrency=config.concurrency
            )

        with report.phase("search"):
            text, reflection = look(config, material, replay, score, _reflecting(config))
        report.update(num_proposals=reflection.num_asked, refused_proposals=reflection.refused)
        if text is None:
            return None, None
        with report.phase("judge"):
            judged = prove(config, material, text, replay)
    report.update(judged=judged.as_dict(), text=text)
    log.info("judged", reason=judged.reason)
    return text, judged


def look(
    config: OptimiseConfig,
    material: Material,
    replay: Attempt,
    score: Score,
    ask: Ask,
) -> tuple[str | None, Reflection]:
    """Return the best proposal, null where none was better on what it was compared on."""
    reflection = Reflection(ask, material.base, most=config.proposals, seed=config.seed)
    found = search(
        material.learned,
        material.chosen,
        material.live,
        replay,
        score,
        reflection,
        calls=config.calls,
        seed=config.seed,
    )
    return found.text, reflection


def prove(config: OptimiseConfig, material: Material, text: str, replay: Attempt) -> Judged:
    """Judge a proposal on states it was not made from, the live prompt replayed beside it."""
    proposed = Template(text, material.prompt.is_template)
    before = replay([case.under(material.live) for case in material.held_out])
    after = replay([case.under(proposed) for case in material.held_out])
    return judge(before, after, level=config.level, seed=config.seed)


def _keep(config: OptimiseConfig, material: Material, text: str, judged: Judged, report: RunReport) -> None:
    agent = ("--agent", config.agent, "--data", str(config.data))
    with tempfile.TemporaryDirectory(prefix="spanloop-prompts-") as name:
        proposed, measured, base = (Path(name) / each for each in ("prompt.txt", "report.json", "base.txt"))
        proposed.write_text(text + "\n", encoding="utf-8")
        measured.write_text(json.dumps(judged.as_dict()))
        arguments = ["prompts", "keep", str(proposed), *agent, "--origin", "optimise", "--report", str(measured)]
        arguments += ["--parent", str(material.prompt.live)]
        if not material.is_kept:
            base.write_text(material.prompt.base + "\n", encoding="utf-8")
            arguments += ["--base", str(base)] + ["--exact"] * (not material.prompt.is_template)
        version = run_stage(*arguments)["version"]
    report.update(version=version, is_promoted=config.promote)
    if config.promote:
        run_stage("prompts", "promote", str(version), *agent)
    else:
        log.info(
            "kept, not live", version=version, promote=f"spanloop prompts promote {version} --agent {config.agent}"
        )


def _scoring(config: OptimiseConfig) -> ReplayConfig:
    return ReplayConfig(
        data=config.data,
        candidate="-",
        score=config.score,
        reward_sql=config.reward_sql,
        judge=config.judge,
        judge_model=config.judge_model,
        judge_api_key=config.judge_api_key,
        concurrency=config.concurrency,
    )


def _gateway(config: OptimiseConfig) -> str:
    server = read_server(config.data)
    if server is None:
        raise SettingsError(
            f"no gateway serves {config.data}, and nothing else is to answer under proposals",
            hint="Name a base URL or a checkpoint: --candidate http://host:8000/v1",
        )
    return f"{server.url}/v1"


def _reflecting(config: OptimiseConfig) -> Ask:
    if not is_url(config.reflect):
        raise SettingsError(f"--reflect {config.reflect} is no address", hint="Such as https://host/v1")
    url, key = config.reflect.rstrip("/"), _secret(config.reflect_api_key)
    return Endpoint(url, config.reflect_model or find_model(url, key=key), key)


def _secret(given: SecretStr | None) -> str | None:
    return None if given is None else given.get_secret_value()
