"""Which version of an agent's prompt is live: kept, promoted, rolled back, tried; with a trail of every change.

A version is on disk before anything names it. The line of a change is in the trail before the change shows, and is
taken back where the change fails. One change at a time, whoever makes it.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foundation.errors import Busy, SettingsError
from foundation.files import exclusive, make_directory, replacing, write_atomically
from serve.prompts.schema import (
    AS_SENT,
    AgentPrompt,
    Prompts,
    PromptVersion,
    encode,
    prompts_audit_path,
    prompts_path,
    read_changes,
    read_prompts,
    read_version,
    version_path,
)
from serve.prompts.template import Template
from serve.schema import Canary

KEPT_PREVIOUS = 50
MAX_AGENT = 256
MAX_TEXT = 200_000
"""Characters of a prompt."""


class NothingBefore(SettingsError):
    """There is no version to return to."""


def keep(
    data: Path,
    agent: str,
    text: str,
    *,
    base: str | None = None,
    is_template: bool = True,
    parent: int | None = None,
    origin: str = "file",
    report: dict[str, Any] | None = None,
) -> PromptVersion:
    """Keep a version of an agent's prompt; nobody is answered under it yet.

    `base` is what the agent sends, named with the first version and whenever the agent's own message changed: what was
    live is then as the agent sends it, since versions of another message are no versions of this one.
    """
    _check_name(agent)
    with _changing(data):
        before = read_prompts(data).of(agent)
        if before is None and base is None:
            raise SettingsError(
                f"nothing is known of what {agent} sends", hint="Name its system message with the first: --base FILE"
            )
        base_text = before.base if base is None else base  # type: ignore[union-attr]
        is_template = before.is_template if before is not None and base is None else is_template
        own, new = Template(base_text, is_template), Template(text, is_template)
        own.check()
        new.check()
        if len(text) > MAX_TEXT or len(base_text) > MAX_TEXT:
            raise SettingsError(f"a prompt of more than {MAX_TEXT} characters")
        if unknown := sorted(set(new.holes) - set(own.holes)):
            raise SettingsError(
                f"the version has holes that what {agent} sends has not: {', '.join(unknown)}",
                hint=f"There are: {', '.join(own.holes) or 'none'}. Without holes: --exact.",
            )
        is_other = before is not None and (before.base, before.is_template) != (base_text, is_template)
        if is_other and before is not None and before.canary is not None:
            raise Busy(f"version {before.canary.version} of {agent} is being tried", hint="Roll it back first.")
        now = datetime.now(UTC).isoformat()
        number = 1 if before is None else before.newest + 1
        made = PromptVersion(
            agent=agent, number=number, text=text, parent=(AS_SENT if before is None else before.live) if parent is None
            else parent, origin=origin, created_time=now, report=report or {},
        )  # fmt: skip
        path = version_path(data, agent, number)
        make_directory(path.parent)
        write_atomically(path, encode(made))
        if before is None or is_other:
            after = AgentPrompt(agent=agent, base=base_text, is_template=is_template, newest=number, changed_time=now)
        else:
            after = before.model_copy(update={"newest": number, "changed_time": now})
        _write(data, before, after, "keep")
    return made


def promote(data: Path, agent: str, number: int, *, reason: str | None = None) -> AgentPrompt:
    """Make a version live for every conversation that begins from now on; 0 is what the agent sends."""

    def change(before: AgentPrompt) -> AgentPrompt:
        if before.canary is not None and before.canary.version != str(number):
            raise Busy(
                f"version {before.canary.version} of {agent} is being tried on a share of the calls",
                hint="Promote that one, or end it with `spanloop prompts rollback`.",
            )
        if number == before.live:
            return before
        previous = (*before.previous, before.live)[-KEPT_PREVIOUS:]
        return before.model_copy(update={"live": number, "previous": previous, "canary": None})

    return _change(data, agent, "promote", change, needs=number, reason=reason)


def rollback(data: Path, agent: str) -> AgentPrompt:
    """End the canary where one runs, else return to the version before."""
    before = require(data, agent)
    if before.canary is not None:
        return end_canary(data, agent, "rolled back by hand")
    if not before.previous:
        raise NothingBefore(f"nothing but version {before.live} of {agent}'s prompt was ever live")
    target = before.previous[-1]
    return _change(
        data,
        agent,
        "rollback",
        lambda now: now.model_copy(update={"live": target, "previous": now.previous[:-1]}),
        needs=target,
    )


def start_canary(data: Path, agent: str, number: int, canary: Canary) -> AgentPrompt:
    """Give a version its first share of the users, episodes or traces."""

    def change(before: AgentPrompt) -> AgentPrompt:
        if before.canary is not None:
            raise Busy(f"version {before.canary.version} of {agent} is a canary already", hint="Roll it back first.")
        if before.live == number:
            raise SettingsError(f"version {number} of {agent}'s prompt is live: there is nothing to compare it with")
        return before.model_copy(update={"canary": canary})

    return _change(data, agent, "canary_start", change, needs=number)


def widen_canary(data: Path, agent: str, share: float, reason: str) -> AgentPrompt:
    """Give the canary a larger share."""

    def change(before: AgentPrompt) -> AgentPrompt:
        assert before.canary is not None, "there is a canary"
        wider = before.canary.model_copy(update={"share": share, "share_time": datetime.now(UTC).isoformat()})
        return before.model_copy(update={"canary": wider})

    return _change(data, agent, "canary_widen", change, reason=reason)


def end_canary(data: Path, agent: str, reason: str) -> AgentPrompt:
    """Take the canary away; the live version is everybody's again."""
    return _change(data, agent, "canary_rollback", lambda now: now.model_copy(update={"canary": None}), reason=reason)


def require(data: Path, agent: str) -> AgentPrompt:
    """Return the prompt of an agent, or say that none is known."""
    known = read_prompts(data)
    found = known.of(agent)
    if found is None:
        names = ", ".join(each.agent for each in known.agents) or "none"
        raise SettingsError(f"no prompt of {agent} is kept in {data}", hint=f"There are those of: {names}.")
    return found


def text_of(data: Path, prompt: AgentPrompt, number: int) -> str:
    """Return the text of a version; that of 0 is what the agent sends."""
    if number == AS_SENT:
        return prompt.base
    found = read_version(data, prompt.agent, number)
    if found is None:
        raise SettingsError(
            f"there is no version {number} of {prompt.agent}'s prompt", hint=f"There are 0 to {prompt.newest}."
        )
    return found.text


def _change(
    data: Path,
    agent: str,
    action: str,
    change: Callable[[AgentPrompt], AgentPrompt],
    *,
    needs: int | None = None,
    reason: str | None = None,
) -> AgentPrompt:
    with _changing(data):
        before = require(data, agent)
        if needs is not None:
            Template(text_of(data, before, needs), before.is_template).check()
        after = change(before)
        if after is not before:
            after = after.model_copy(update={"changed_time": datetime.now(UTC).isoformat()})
            _write(data, before, after, action, reason=reason)
    return after


def _changing(data: Path) -> Any:  # noqa: ANN401 - a context manager
    make_directory(data / "serve")
    return exclusive(data / "serve" / "prompts.lock", purpose="a change of prompts")


def _write(
    data: Path, before: AgentPrompt | None, after: AgentPrompt, action: str, *, reason: str | None = None
) -> None:
    known = read_prompts(data)
    others = [each for each in known.agents if each.agent != after.agent]
    new = Prompts(agents=tuple(sorted([*others, after], key=lambda each: each.agent)))
    line = {
        "time": after.changed_time,
        "action": action,
        "agent": after.agent,
        "from": None if before is None else before.live,
        "to": after.live,
        "newest": after.newest,
        "canary": None if after.canary is None else after.canary.version,
        "share": None if after.canary is None else after.canary.share,
        "reason": reason,
    }
    path = prompts_audit_path(data)
    _trim(data, path)
    length = path.stat().st_size if path.exists() else 0
    try:
        with replacing(prompts_path(data), encode(new)), path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        if path.exists():
            os.truncate(path, length)
        raise


def _trim(data: Path, path: Path) -> None:
    """Finish what a crash interrupted: cut off half a line, and that of a change that never was."""
    if path.exists():
        kept = b"".join(json.dumps(line).encode() + b"\n" for line in read_changes(data))
        if len(kept) < path.stat().st_size:
            os.truncate(path, len(kept))


def _check_name(agent: str) -> None:
    if not (0 < len(agent) <= MAX_AGENT and agent.isprintable()):
        raise SettingsError(f"an agent's name must be 1 to {MAX_AGENT} printable characters")
