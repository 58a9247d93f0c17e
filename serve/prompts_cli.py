"""`spanloop prompts list|diff|keep|promote|canary|rollback`: versions of agents' system messages by hand."""

import json as json_text
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from foundation.directories import check_directory
from foundation.errors import SettingsError, SpanloopError
from foundation.files import read_prompt
from foundation.narration import get_logger
from foundation.report import RunReport
from serve.prompts.schema import AgentPrompt, difference, read_changes, read_prompts, read_version
from serve.prompts.settings import KeepConfig, PromptCanaryConfig, PromptConfig
from serve.schema import read_server
from serve.settings import RegistryConfig

log = get_logger("serve")

Json = Annotated[bool, Parameter(name="--json", negative="")]
DryRun = Annotated[bool, Parameter(negative="")]


def list_(*, config: Annotated[RegistryConfig, Parameter(name="*")] = RegistryConfig(), json: Json = False) -> None:
    """Say which versions of which agents' prompts there are, and which are in force.

    Example: spanloop prompts list --data /var/lib/spanloop

    Parameters
    ----------
    json
        Print the report on stdout, texts and changes included.
    """
    agents: list[dict[str, Any]] = []
    for prompt in read_prompts(config.data).agents:
        numbers = range(1, prompt.newest + 1)
        versions = [found for each in numbers if (found := read_version(config.data, prompt.agent, each)) is not None]
        agents.append(
            prompt.model_dump(mode="json") | {"versions": [each.model_dump(mode="json") for each in versions]}
        )
    if json:
        sys.stdout.write(json_text.dumps({"agents": agents, "changes": read_changes(config.data)}, indent=2) + "\n")
        return
    if not agents:
        sys.stdout.write("no prompt is kept\n")
    for agent in agents:
        sys.stdout.write(f"{agent['agent']}\n  {'-> ' if agent['live'] == 0 else '   '}0  as the agent sends it\n")
        for each in agent["versions"]:
            trial = agent["canary"]
            is_tried = trial is not None and trial["version"] == str(each["number"])
            mark = "-> " if each["number"] == agent["live"] else "   "
            tried = f", canary at {trial['share']:g}" if is_tried else ""
            gain = each["report"].get("difference")
            measured = f", replayed {gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain else ""
            sys.stdout.write(
                f"  {mark}{each['number']}  of {each['parent']}, by {each['origin']}, {each['created_time'][:19]}"
                f"{measured}{tried}\n"
            )


def diff(
    before: int | None = None,
    after: int | None = None,
    *,
    config: Annotated[PromptConfig, Parameter(name="*")],
) -> None:
    """Show what changed between two versions of an agent's prompt.

    Example: spanloop prompts diff --agent solver 0 2

    Parameters
    ----------
    before
        Number of a version, 0 for what the agent sends. Default: the live one.
    after
        Number of another. Default: the newest.
    """
    from serve.prompts.registry import require

    prompt = require(config.data, config.agent)
    numbers = (prompt.live if before is None else before, prompt.newest if after is None else after)
    sys.stdout.write(difference_of(config.data, prompt, *numbers))


def difference_of(data: Path, prompt: AgentPrompt, before: int, after: int) -> str:
    """Return what changed between two versions."""
    from serve.prompts.registry import text_of

    former, latter = (text_of(data, prompt, number) for number in (before, after))
    return difference(former, latter, (f"{prompt.agent}/{before}", f"{prompt.agent}/{after}"))


def keep(
    file: Path,
    *,
    config: Annotated[KeepConfig, Parameter(name="*")],
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Keep a version of an agent's prompt. Nobody is answered under it until it is promoted, or tried as a canary.

    Example: spanloop prompts keep better.txt --agent solver --base what-the-agent-sends.txt

    Parameters
    ----------
    file
        File with the system message.
    json
        Print the report on stdout.
    dry_run
        Read the files and change nothing.
    """
    from serve.prompts import registry

    check_directory(config.data)
    text, base = read_prompt(file), None if config.base is None else read_prompt(config.base)
    report = RunReport("prompts keep", config.model_dump(mode="json"))
    if not dry_run:
        measured = None if config.report is None else _read_report(config.report)
        made = registry.keep(
            config.data,
            config.agent,
            text,
            base=base,
            is_template=not config.exact,
            parent=config.parent,
            origin=config.origin,
            report=measured,
        )
        _tell_gateway(config.data)
        report.update(version=made.number, parent=made.parent)
        log.info("kept", agent=made.agent, version=made.number)
    if json:
        report.print()


def promote(
    version: int,
    *,
    config: Annotated[PromptConfig, Parameter(name="*")],
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Answer every conversation that begins from now on under a version; 0 leaves what the agent sends as it is.

    Conversations that began keep theirs. With a gateway running, return when that is in force.

    Example: spanloop prompts promote 2 --agent solver

    Parameters
    ----------
    version
        Its number.
    json
        Print the report on stdout.
    dry_run
        Show the difference and change nothing.
    """
    from serve.prompts import registry

    before = registry.require(config.data, config.agent)
    sys.stderr.write(difference_of(config.data, before, before.live, version))
    _change("promote", config, lambda: registry.promote(config.data, config.agent, version), json, dry_run)


def rollback(
    *, config: Annotated[PromptConfig, Parameter(name="*")], json: Json = False, dry_run: DryRun = False
) -> None:
    """End an agent's canary where one runs, else return to the version that was live before.

    Example: spanloop prompts rollback --agent solver

    Parameters
    ----------
    json
        Print the report on stdout.
    dry_run
        Change nothing.
    """
    from serve.prompts import registry

    _change("rollback", config, lambda: registry.rollback(config.data, config.agent), json, dry_run)


def canary(
    version: int,
    *,
    config: Annotated[PromptCanaryConfig, Parameter(name="*")],
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Answer a share of the users, episodes or traces under a version; what is not worse is promoted, else ended.

    Judged as a checkpoint's canary is (`spanloop serve canary`). Needs a running gateway.

    Example: spanloop prompts canary 2 --agent solver --share 0.1

    Parameters
    ----------
    version
        Its number.
    json
        Print the report on stdout.
    dry_run
        Change nothing.
    """
    from serve.canary.verdict import begin
    from serve.prompts import registry
    from serve.prompts.schema import version_path

    registry.require(config.data, config.agent)
    if read_server(config.data) is None:
        raise SpanloopError(
            f"no gateway serves {config.data}: there are no calls to give a share of",
            hint="Start it first: spanloop serve run --data DIR",
        )

    def start() -> AgentPrompt:
        path = version_path(config.data, config.agent, version)
        trial = begin(path, str(version), config, slow_s=None)
        return registry.start_canary(config.data, config.agent, version, trial)

    _change("canary", config, start, json, dry_run)


def _change(verb: str, config: PromptConfig, change: Callable[[], AgentPrompt], json: bool, is_dry: bool) -> None:
    """Change which version is in force, tell a running gateway, and report what came of it; dry, report what is."""
    from serve.prompts.registry import require

    before = require(config.data, config.agent)
    report = RunReport(f"prompts {verb}", config.model_dump(mode="json"))
    after = before if is_dry else change()
    in_force = False if is_dry else _tell_gateway(config.data)
    tried = None if after.canary is None else {"version": int(after.canary.version), "share": after.canary.share}
    report.update(agent=after.agent, live=after.live, previous=before.live, canary=tried, is_in_force=in_force)
    if not is_dry:
        said = "in force" if in_force else "registered; no gateway runs, the next start takes it"
        log.info(said, agent=after.agent, version=after.live, before=before.live, canary=tried)
    if json:
        report.print()


def _tell_gateway(data: Path) -> bool:
    """Have a running gateway take what the registry says; tell whether there is one."""
    if read_server(data) is None:
        return False
    from serve.change.control import ask_running

    return ask_running(data, "prompts", {}) is not None


def _read_report(path: Path) -> dict[str, Any]:
    try:
        found = json_text.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds no JSON object")
    return found
