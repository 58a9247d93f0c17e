"""`spanloop replay`: what another model or prompt would have done where the agents stood."""

import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foundation.errors import ExitStatus, GateRefused, SettingsError
from foundation.files import read_prompt, write_json
from foundation.narration import get_logger
from foundation.report import RunReport
from spanloop.replay.asking import Ask, Endpoint, find_model, is_url
from spanloop.replay.candidate import opened
from spanloop.replay.comparison import Comparison, Interval, Verdict, compare
from spanloop.replay.judging import by_judge
from spanloop.replay.reward_sql import by_sql
from spanloop.replay.scoring import Score, by_checks, by_outcomes
from spanloop.replay.settings import ReplayConfig
from spanloop.replay.states import State, longest_answer, read_states
from spanloop.replay.trial import Trial, attempt, recorded
from train.schema import MANIFEST, read_manifest, weights_digest

log = get_logger("replay")

REPORTS = "replays"
"""Directory below DATA of the reports, which the page shows."""


def replay(
    *,
    config: Annotated[ReplayConfig, Parameter(name="*")],
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Ask logged states anew, of another model or under another prompt, and compare it with what was recorded.

    Tools answer from the recording, where name and arguments match; else the replay of that episode stops. What is
    asked is marked, and never becomes training data.

    Example: spanloop replay --data traces --candidate traces/checkpoints/20260101T… --agents solver

    Parameters
    ----------
    as_json
        Print the report on stdout, in place of the table.
    dry_run
        Say what would be asked; ask nobody.
    """
    report = RunReport("replay", config.model_dump(mode="json"))
    system = None if config.prompt is None else read_prompt(config.prompt).strip()
    states = choose_states(config)
    is_sampled = {"num_states": len(states), "num_tasks": len({state.task for state in states})}
    report.update(**is_sampled, agents=sorted({state.agent or "" for state in states}))
    log.info("states", **is_sampled)
    if dry_run:
        if as_json:
            report.print()
        return
    with report.phase("replay"):
        before, after, candidate = try_candidate(config, states, system=system)
    found = _table(config, before, after)
    gate = make_gate(config, found)
    report.update(comparison=found.as_dict(), gate=gate, candidate=candidate, states=side_by_side(before, after))
    if config.gate:
        _write_gate(Path(config.candidate), gate)
    status = ExitStatus.DONE if not config.gate or found.verdict is Verdict.PASSED else ExitStatus.REFUSED
    report.write(config.data / REPORTS / f"{report.run_id}.json", status)
    if as_json:
        report.print(status)
    else:
        _print(found, "recorded" if config.against is None else config.against, candidate)
    if status is ExitStatus.REFUSED:
        raise GateRefused(
            f"{Path(config.candidate).name}: {found.verdict.value}: {found.reason}",
            hint="What is live stays. `spanloop serve canary` tries what is inconclusive on a share of the calls.",
        )


def choose_states(config: ReplayConfig) -> list[State]:
    """Return the states a replay is to ask, or say why there is none."""
    states = read_states(
        config.data,
        agents=config.agents,
        split=None if config.split == "all" else config.split,
        since=config.since,
        tools_from=config.tools_from,
        limit=config.states,
    )
    if not states:
        raise GateRefused(
            f"no logged state of split {config.split} can be asked anew in {config.data}",
            hint="A state needs its messages as text. --split all takes what was trained on too; --agents and --since "
            "leave others out.",
        )
    return states


def try_candidate(config: ReplayConfig, states: list[State], *, system: str | None = None) -> tuple[Trial, Trial, str]:
    """Replay the candidate, and what it is compared with where that is to be replayed too; return both, and its name.

    What it is compared with comes first.
    """
    name = f"replay-{secrets.token_hex(4)}"
    score = choose_score(config, states)
    how: dict[str, Any] = {
        "seed": config.seed,
        "temperature": config.temperature,
        "concurrency": config.concurrency,
    }
    key, limit = _secret(config.api_key), longest_answer(states)
    if config.against is None:
        before = recorded(states, score, seed=config.seed)
    else:
        with opened(config.against, key=key, engine=config.engine, replay=name, max_tokens=limit) as other:
            before = attempt(states, other, score, **how)
    with opened(
        config.candidate,
        model=config.candidate_model,
        key=key,
        engine=config.engine,
        replay=name,
        max_tokens=limit,
    ) as ask:
        after, asked = attempt(states, ask, score, system=system, **how), ask.model
    return before, after, asked


def side_by_side(before: Trial, after: Trial) -> list[dict[str, Any]]:
    """Return of each state where it is recorded, how its replay ended and both scores, the greatest losses first."""
    rows = [
        {
            "project": state.project,
            "trace_id": state.trace_id,
            "span_id": state.turns[0].span_id,
            "agent": state.agent,
            "end": replayed.end.value,
            "before": old,
            "after": new,
        }
        for state, replayed, old, new in zip(
            (each.state for each in after.replays), after.replays, before.scores, after.scores, strict=True
        )
    ]
    return sorted(rows, key=_change)


def _change(row: dict[str, Any]) -> float:
    """Return how much better a candidate did; what is not known of both comes last."""
    return float("inf") if row["before"] is None or row["after"] is None else float(row["after"] - row["before"])


def _table(config: ReplayConfig, before: Trial, after: Trial) -> Comparison:
    return compare(
        before.replays,
        after.replays,
        (before.scores, after.scores),
        seed=config.seed,
        margin=config.margin,
        prices=(config.teacher_price, config.candidate_price),
    )


def choose_score(config: ReplayConfig, states: list[State]) -> Score:
    """Return how the settings would have states scored."""
    if config.reward_sql is not None and config.judge is not None:
        raise SettingsError("--reward-sql and --judge both say how to score", hint="Leave one of them out.")
    if config.reward_sql is not None:
        return by_sql(config.reward_sql, config.data)
    if config.judge is not None:
        return by_judge(_judge(config), concurrency=config.concurrency)
    has_outcomes = any(state.outcome is not None for state in states)
    if config.score == "outcomes" or (config.score == "auto" and has_outcomes):
        return by_outcomes(states)
    return by_checks


def _judge(config: ReplayConfig) -> Ask:
    assert config.judge is not None
    if not is_url(config.judge):
        raise SettingsError(f"--judge {config.judge} is no address", hint="Such as https://host/v1")
    url, key = config.judge.rstrip("/"), _secret(config.judge_api_key)
    return Endpoint(url, config.judge_model or find_model(url, key=key), key)


def make_gate(config: ReplayConfig, found: Comparison) -> dict[str, Any]:
    """Return the verdict as a manifest keeps it, in the shape of `spanloop train evaluate`."""
    return {
        "verdict": found.verdict.value,
        "passed": found.verdict is Verdict.PASSED,
        "reason": found.reason,
        "hint": None
        if found.verdict is Verdict.PASSED
        else "`spanloop serve canary` tries it on a share of the calls.",
        "compared_with": config.against or "recorded",
        "evaluated_time": datetime.now(UTC).isoformat(),
        "replay": found.as_dict(),
        "settings": config.model_dump(mode="json"),
    }


def _write_gate(checkpoint: Path, gate: dict[str, Any]) -> None:
    manifest = read_manifest(checkpoint)
    bound = gate | {"weights_digest": weights_digest(checkpoint)}
    write_json(checkpoint / MANIFEST, manifest.model_copy(update={"gate": bound}).model_dump(mode="json"))


def _secret(given: SecretStr | None) -> str | None:
    return None if given is None else given.get_secret_value()


def _print(found: Comparison, before: str, after: str) -> None:
    table = Table("", escape(before), escape(after))
    sides = (found.teacher, found.candidate)
    rows: list[tuple[str, list[str]]] = [
        ("score", [_interval(side.score) for side in sides]),
        ("replayed to the end", [f"{side.share_whole:.1%}" for side in sides]),
        ("agreement of tool calls", [_share(side.agreement) for side in sides]),
        ("seconds an answer", [_number(side.duration_s) for side in sides]),
        ("tokens of prompt, a state", [_number(side.prompt_tokens) for side in sides]),
        ("tokens of answer, a state", [_number(side.answer_tokens) for side in sides]),
        ("cost of a state", [_number(side.cost) for side in sides]),
    ]
    for label, cells in rows:
        table.add_row(label, *cells)
    console = Console(file=sys.stdout)
    console.print(table)
    ends = ", ".join(f"{count} {end}" for end, count in found.ends.items())
    console.print(
        f"{found.num_states} states: {ends}; {found.num_scored} scored, of {found.num_tasks} tasks", markup=False
    )
    console.print(f"{found.verdict.value}: {found.reason}", markup=False)


def _interval(found: Interval | None) -> str:
    return "-" if found is None else f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
