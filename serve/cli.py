"""Commands of the serving stage."""

import json as json_text
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from foundation.directories import check_directory
from foundation.errors import SpanloopError
from foundation.files import exclusive
from foundation.narration import get_logger
from foundation.report import RunReport
from foundation.web import places
from serve.schema import Registry, lock_path, read_registry, read_server
from serve.settings import CanaryConfig, PauseConfig, RegistryConfig, ServeConfig

log = get_logger("serve")

app = App(name="serve", help="Checkpoint in, endpoint out.", result_action="return_value")

Json = Annotated[bool, Parameter(name="--json", negative="")]
DryRun = Annotated[bool, Parameter(negative="")]


@app.command
def run(*engine_arguments: str, config: Annotated[ServeConfig, Parameter(name="*")] = ServeConfig()) -> None:
    """Serve the live checkpoint behind an OpenAI-compatible endpoint, until SIGTERM.

    Example: spanloop serve run --data /var/lib/spanloop --model ./my-model -- --max-model-len 8192

    Parameters
    ----------
    engine_arguments
        Whatever follows `--` goes to the engine as it is: `vllm serve`'s own options, or `--threads` of the embedded
        engine.
    """
    from serve.server import run as serve

    check_directory(config.data)
    serve(config, engine_arguments)


@app.command
def promote(
    checkpoint: Path,
    *,
    config: Annotated[RegistryConfig, Parameter(name="*")] = RegistryConfig(),
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Make a checkpoint live; with a gateway running, return when the new weights serve.

    Example: spanloop serve promote --data /var/lib/spanloop /var/lib/spanloop/checkpoints/20260101T020000-1a2b3c4d

    Parameters
    ----------
    checkpoint
        Directory of the checkpoint.
    force
        Promote although the evaluation refused it. A damaged or unsafe checkpoint stays refused.
    json
        Print the report on stdout.
    dry_run
        Check the checkpoint and change nothing.
    """
    from serve.change import registry
    from serve.changes import check_promotable

    checkpoint = checkpoint.resolve()
    before = _registry(config.data)
    check_promotable(checkpoint, force=force)
    report = RunReport("serve promote", config.model_dump(mode="json") | {"checkpoint": str(checkpoint)})
    if dry_run:
        report.update(live=before.live, live_version=before.live_version, checkpoint=str(checkpoint))
    else:
        result = _ask_gateway(config.data, "promote", {"checkpoint": str(checkpoint), "force": force})
        if result is None:
            with exclusive(lock_path(config.data), purpose="spanloop serve promote"):
                before = registry.require(config.data)
                result = registry.change_report(before, registry.promote(config.data, checkpoint)) | {"engine": None}
        report.update(**result)
        _say_live(result)
    if json:
        report.print()


@app.command
def canary(
    checkpoint: Path,
    *,
    config: Annotated[CanaryConfig, Parameter(name="*")] = CanaryConfig(),
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Give a checkpoint a share of the calls; it becomes live when it is not worse, and is rolled back when it is.

    Both models answer until then, each to its own users, episodes or traces. Needs a running gateway. `spanloop serve
    status` shows how they compare, `promote` makes it live at once, `rollback` ends it.

    Example: spanloop serve canary --data /var/lib/spanloop --share 0.05 /var/lib/spanloop/checkpoints/20260101T020000

    Parameters
    ----------
    checkpoint
        Directory of the checkpoint.
    force
        Try it although a gate refused it. A damaged or unsafe checkpoint stays refused.
    json
        Print the report on stdout.
    dry_run
        Check the checkpoint and change nothing.
    """
    from serve.changes import check_promotable

    checkpoint = checkpoint.resolve()
    before = _registry(config.data)
    check_promotable(checkpoint, force=force, is_canary=True)
    report = RunReport("serve canary", config.model_dump(mode="json") | {"checkpoint": str(checkpoint)})
    if dry_run:
        report.update(live=before.live, live_version=before.live_version, checkpoint=str(checkpoint))
    else:
        body = {"checkpoint": str(checkpoint), "force": force, "config": config.model_dump(mode="json")}
        result = _ask_gateway(config.data, "canary", body)
        if result is None:
            raise SpanloopError(
                f"no gateway serves {config.data}: there are no calls to give a share of",
                hint="Start it first: spanloop serve run --data DIR",
            )
        report.update(**result)
        log.info("canary", version=result["canary"]["version"], share=result["canary"]["share"])
    if json:
        report.print()


@app.command
def rollback(
    *,
    config: Annotated[RegistryConfig, Parameter(name="*")] = RegistryConfig(),
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """End the canary where one runs, else return to the checkpoint that was live before.

    With a gateway running, return when that is in force.

    Example: spanloop serve rollback --data /var/lib/spanloop

    Parameters
    ----------
    json
        Print the report on stdout.
    dry_run
        Say what would be live and change nothing.
    """
    from serve.change import registry

    before = _registry(config.data)
    target = Path(before.live) if before.canary is not None else registry.rollback_target(before)
    report = RunReport("serve rollback", config.model_dump(mode="json"))
    if dry_run:
        report.update(live=before.live, live_version=before.live_version, target=str(target))
        log.info("would return to", checkpoint=str(target))
    else:
        result = _ask_gateway(config.data, "rollback", {})
        if result is None and before.canary is not None:
            with exclusive(lock_path(config.data), purpose="spanloop serve rollback"):
                result = registry.change_report(before, registry.end_canary(config.data, "rolled back by hand"))
        elif result is None:
            with exclusive(lock_path(config.data), purpose="spanloop serve rollback"):
                before = registry.require(config.data)
                result = registry.change_report(before, registry.rollback(config.data)) | {"engine": None}
        report.update(**result)
        _say_live(result)
    if json:
        report.print()


@app.command
def pause(*, config: Annotated[PauseConfig, Parameter(name="*")] = PauseConfig(), json: Json = False) -> None:
    """Have the gateway give its device up: calls in flight end, others get 503, or the hosted model's answer.

    Until `spanloop serve resume`, or `--at-most-s`. Without a running gateway there is nothing to do.

    Example: spanloop serve pause --data /var/lib/spanloop --at-most-s 3600

    Parameters
    ----------
    json
        Print the report on stdout.
    """
    report = RunReport("serve pause", config.model_dump(mode="json"))
    result = _ask_gateway(config.data, "pause", {"at_most_s": config.at_most_s})
    report.update(is_running=result is not None, **(result or {}))
    log.info("no gateway runs: nothing to pause" if result is None else "paused", at_most_s=config.at_most_s)
    if json:
        report.print()


@app.command
def resume(*, config: Annotated[RegistryConfig, Parameter(name="*")] = RegistryConfig(), json: Json = False) -> None:
    """End a pause: return when the model answers again.

    Example: spanloop serve resume --data /var/lib/spanloop

    Parameters
    ----------
    json
        Print the report on stdout.
    """
    report = RunReport("serve resume", config.model_dump(mode="json"))
    result = _ask_gateway(config.data, "resume", {})
    report.update(is_running=result is not None, **(result or {}))
    log.info("no gateway runs: nothing to resume" if result is None else "resumed")
    if json:
        report.print()


def _registry(data: Path) -> Registry:
    """Return what is live: on the gateway that is named by URL, else in DATA."""
    from serve.change import registry

    if places.control() is None:
        return registry.require(data)
    status = _ask_gateway(data, "status", {})
    assert status is not None, "a gateway that is named is there, or it was said that it is not"
    return Registry.model_validate(status["registry"])


@app.command
def handover(
    *,
    config: Annotated[CanaryConfig, Parameter(name="*")] = CanaryConfig(),
    end: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Hand users over from the hosted model to the live one, more and more of them, while it is not worse.

    Needs a gateway with a hosted model behind it (`serve run --fallback`). The hosted model answers everybody else, and
    everybody again once the live model is worse; the settings are those of a canary.

    Example: spanloop serve handover --data /var/lib/spanloop --shares 0.05,0.25,0.5 --units 200

    Parameters
    ----------
    end
        Give everybody back to the hosted model.
    json
        Print the report on stdout.
    """
    report = RunReport("serve handover", config.model_dump(mode="json"))
    result = _ask_gateway(config.data, "handover", {"config": None if end else config.model_dump(mode="json")})
    if result is None:
        raise SpanloopError(
            f"no gateway serves {config.data}: there are no calls to hand over",
            hint="Start it first: spanloop serve run --data DIR --fallback URL --fallback-model NAME",
        )
    report.update(**result)
    log.info("handover", student=result["share"])
    if json:
        report.print()


def _say_live(result: dict[str, Any]) -> None:
    """Say what a change came to: that it serves, or only that it will."""
    said = "live" if result["engine"] else "registered; no gateway runs, the next start serves it"
    log.info(said, version=result["live_version"], before=result["previous_version"])


@app.command
def status(*, config: Annotated[RegistryConfig, Parameter(name="*")] = RegistryConfig(), json: Json = False) -> None:
    """Say what is live, what was before, and whether a gateway serves it.

    Example: spanloop serve status --data /var/lib/spanloop --json

    Parameters
    ----------
    json
        Print one JSON object instead of lines.
    """
    from serve.change.registry import behavior_of

    running = _ask_gateway(config.data, "status", {})
    told = None if running is None else running.pop("registry", None)
    registry = read_registry(config.data) if told is None else Registry.model_validate(told)
    found: dict[str, Any] = {
        "base": None if registry is None else registry.base,
        "live": None if registry is None else registry.live,
        "live_version": None if registry is None else registry.live_version,
        "previous": [] if registry is None else list(registry.previous),
        "behavior": None if registry is None or running is not None else behavior_of(config.data, registry),
        "changed_time": None if registry is None else registry.changed_time,
        "canary": None if registry is None or registry.canary is None else registry.canary.model_dump(mode="json"),
        "is_running": running is not None,
        "url": None,
        "engine": None,
        **(running or {}),
    }
    if json:
        whole = found | {"registry": None if registry is None else registry.model_dump(mode="json")}
        sys.stdout.write(json_text.dumps(whole, indent=2) + "\n")
        return
    trial, prompts, handed = found.pop("canary"), found.pop("prompts", {}), found.pop("handover", None)
    for name, value in found.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        sys.stdout.write(f"{name:17} {'-' if shown in (None, '') else shown}\n")
    _show_canary(trial)
    if handed is not None:
        why = handed["reason"] or "begun"
        sys.stdout.write(f"{'handover':17} {handed['share']:g} of the users to the student, {why}\n")
        if handed["trial"] is not None:
            _show_canary(handed["trial"] | {"metrics": handed["metrics"], "trouble": handed["trouble"]})
    for agent, prompt in prompts.items():
        sys.stdout.write(f"{'prompt':17} {agent} under version {prompt['live']}\n")
        if prompt["num_unknown"]:
            sys.stdout.write(f"  {'unknown':15} {prompt['num_unknown']} calls with another message, left as is\n")
        if prompt["canary"] is not None:
            _show_canary(prompt["canary"])


def _show_canary(trial: dict[str, Any] | None) -> None:
    """Write how a canary compares, a line a metric."""
    if trial is None:
        sys.stdout.write(f"{'canary':17} -\n")
        return
    sys.stdout.write(f"{'canary':17} {trial['version']}, {trial['share']:g} of the calls\n")
    for name, found in trial.get("metrics", {}).items():
        means = ["-" if found[arm] is None else f"{found[arm]:.3f}" for arm in ("canary", "live")]
        sys.stdout.write(
            f"  {name:15} {means[0]} of {found['num_canary']} units, live {means[1]} of {found['num_live']}; "
            f"difference in [{found['difference_low']:+.3f}, {found['difference_high']:+.3f}]\n"
        )
    if trial.get("trouble"):
        sys.stdout.write(f"  {'trouble':15} {trial['trouble']}\n")


def _ask_gateway(
    data: Path,
    action: Literal["promote", "rollback", "canary", "handover", "status", "pause", "resume"],
    body: dict[str, Any],
) -> dict[str, Any] | None:
    """Ask the running gateway; None when none runs. Its client is loaded only when there is one to ask."""
    if places.control() is None and read_server(data) is None:
        return None
    from serve.change.control import ask_running

    return ask_running(data, action, body)
