"""What is published of prompts: the versions there are of an agent's system message, and which one is in force.

    DATA/serve/prompts.json             by agent: what it sends, the live version, those before, a canary; by rename
    DATA/serve/prompts/AGENT/N.json     one version; written before prompts.json names it, never changed
    DATA/serve/prompts_audit.jsonl      one line a change: when, what, which agent, from, to, why

Version 0 is what the agent itself sends, left as it is. All JSON files say their layout and their own sha256.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic import Field

from foundation.settings import Settings
from serve.prompts.template import Template as Template
from serve.prompts.template import difference as difference
from serve.schema import Canary, encode_file, read_file

AS_SENT = 0
"""The version that is the agent's own message."""

SAFE = re.compile(r"[A-Za-z0-9._-]{1,80}")


class PromptVersion(Settings):
    """One version of a system message."""

    agent: str
    number: int
    text: str
    """What takes the place of the agent's own; `{{name}}` is what stood there in a hole of that name."""

    parent: int
    """The version it was made from."""

    origin: str
    """Who wrote it: `file`, or `optimise`."""

    created_time: str
    """UTC, ISO 8601."""

    report: dict[str, Any] = Field(default={})
    """What was measured before it was kept; empty for one that was written by hand."""


class AgentPrompt(Settings):
    """The prompt of one agent."""

    agent: str
    base: str
    """The system message the agent sends, with `{{name}}` for what changes from call to call."""

    is_template: bool
    """Whether `{{name}}` in it is a hole; else every character is meant as it stands."""

    newest: int = AS_SENT
    """Number of the last version that was kept."""

    live: int = AS_SENT
    previous: tuple[int, ...] = ()
    """Versions that were live before, newest last."""

    canary: Canary | None = None
    """The version that is tried on a share of the users, episodes or traces; its `version` is the number."""

    changed_time: str
    """UTC, ISO 8601."""


class Prompts(Settings):
    """Every agent's prompt."""

    agents: tuple[AgentPrompt, ...] = ()

    def of(self, agent: str) -> AgentPrompt | None:
        """Return the prompt of an agent; None where nothing is known of it."""
        return next((each for each in self.agents if each.agent == agent), None)


def prompts_path(data: Path) -> Path:
    """Return the file that says which versions are in force."""
    return data / "serve" / "prompts.json"


def prompts_audit_path(data: Path) -> Path:
    """Return the trail of what was changed."""
    return data / "serve" / "prompts_audit.jsonl"


def version_path(data: Path, agent: str, number: int) -> Path:
    """Return the file of one version; an agent whose name is no file name has its digest for one."""
    is_safe = SAFE.fullmatch(agent) is not None and not agent.startswith(".")
    folder = agent if is_safe else "sha256-" + hashlib.sha256(agent.encode()).hexdigest()[:32]
    return data / "serve" / "prompts" / folder / f"{number}.json"


def read_prompts(data: Path) -> Prompts:
    """Return every agent's prompt; none where none was kept."""
    hint = "Write it anew from the last lines of prompts_audit.jsonl beside it, or restore a backup."
    return read_file(prompts_path(data), Prompts, hint=hint) or Prompts()


def read_version(data: Path, agent: str, number: int) -> PromptVersion | None:
    """Return one version; None where there is none of that number."""
    return read_file(version_path(data, agent, number), PromptVersion, hint="Restore a backup, or keep it anew.")


def read_changes(data: Path) -> list[dict[str, Any]]:
    """Return the trail of changes, oldest first, without a last line of a change that never was."""
    try:
        content = prompts_audit_path(data).read_bytes()
    except FileNotFoundError:
        return []
    lines = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    if lines:
        now = read_prompts(data).of(str(lines[-1].get("agent")))
        if now is None or now.changed_time != lines[-1]["time"]:
            lines.pop()
    return lines


def encode(value: Settings) -> bytes:
    """Return the bytes of one of these files."""
    return encode_file(value)
