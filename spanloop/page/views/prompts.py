"""`/prompts`: which version of whose prompt is live, what changed between them, how a canary does."""

import difflib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from foundation.errors import SettingsError, SpanloopError
from foundation.web.keys import Scope
from serve.prompts.schema import (
    AS_SENT,
    AgentPrompt,
    PromptVersion,
    read_changes,
    read_prompts,
    read_version,
)
from serve.schema import read_server
from spanloop.page import acting
from spanloop.page.render import address
from spanloop.page.visit import NotThere, Visit, clean, see_other
from spanloop.processes import run_stage

ACTIONS = ("promote", "canary", "rollback")
SHOWN = 50
"""Newest versions of an agent that are shown."""

MARKS = {"+": "added", "-": "taken", "@": "place"}


@dataclass(frozen=True)
class Shown:
    """A version as the page has it: what was measured, and how it differs from the one it was made from."""

    number: int
    version: PromptVersion | None
    text: str
    lines: list[tuple[str, str]]
    """Kind and text of each line of the difference."""

    problem: str | None = None


async def show(visit: Visit) -> web.StreamResponse:
    """Show every agent's prompt and what may be done with it."""
    try:
        prompts, trouble = (await visit.read(read_prompts, visit.data)).agents, None
    except SpanloopError as error:
        prompts, trouble = (), error.message
    chosen = visit.argument("agent")
    status = await _status(visit) if any(each.canary for each in prompts) else {}
    shown = [each for each in prompts if chosen in ("", each.agent)]
    return visit.render(
        "prompts.html",
        title="Prompts",
        agents=[(each, await visit.read(_versions, visit.data, each), status.get(each.agent)) for each in shown],
        trouble=trouble,
        most=SHOWN,
        changes=[] if trouble else list(reversed(await visit.read(read_changes, visit.data)))[:100],
    )


def _versions(data: Path, prompt: AgentPrompt) -> list[Shown]:
    """Return the versions, newest first, and last what the agent sends."""
    found = []
    for number in range(prompt.newest, max(AS_SENT, prompt.newest - SHOWN), -1):
        try:
            version = read_version(data, prompt.agent, number)
            parent = read_version(data, prompt.agent, version.parent) if version and version.parent else None
        except SpanloopError as error:
            found.append(Shown(number, None, "", [], error.message))
            continue
        if version is None:
            found.append(Shown(number, None, "", [], "its file is gone"))
        else:
            lines = difference(parent.text if parent else prompt.base, version.text)
            found.append(Shown(number, version, version.text, lines))
    return [*found, Shown(AS_SENT, None, prompt.base, [])]


def difference(before: str, after: str) -> list[tuple[str, str]]:
    r"""Return the lines of a difference, each with its kind.

    >>> difference("a", "a\nb")
    [('place', '@@ -1 +1,2 @@'), ('', ' a'), ('added', '+b')]
    """
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=3))[2:]
    return [(MARKS.get(line[:1], ""), line) for line in lines]


async def _status(visit: Visit) -> dict[str, Any]:
    """Return what the gateway knows of canaries, nothing where none runs."""
    try:
        if await visit.read(read_server, visit.data) is None:
            return {}
        found = await visit.read(run_stage, "serve", "status", "--data", str(visit.data), narration=io.StringIO())
    except SpanloopError:
        return {}
    prompts = found.get("prompts")
    return prompts if isinstance(prompts, dict) else {}


async def act(visit: Visit) -> web.StreamResponse:
    """Promote a version, try it as a canary, or roll back, by the command that does so."""
    visit.visitor.require(Scope.ADMIN)
    action = visit.request.match_info["action"]
    if action not in ACTIONS:
        raise NotThere("There is no such action.")
    form = await visit.request.post()
    agent, number = clean(str(form.get("agent", ""))), str(form.get("version", ""))
    known = (await visit.read(read_prompts, visit.data)).of(agent)
    if known is None:
        raise SettingsError("there is no prompt of an agent by that name")
    command = ["prompts", action]
    if action != "rollback":
        if not number.isascii() or not number.isdigit() or len(number) > 9 or int(number) > known.newest:
            raise SettingsError("there is no such version")
        command.append(number)
    # One word, so that no name is taken for a flag.
    await acting.act(visit, action, f"{agent}/{number}", *command, f"--agent={agent}", "--data", str(visit.data))
    return see_other(address("/prompts", said=f"Done: {action} {number}".strip()))
