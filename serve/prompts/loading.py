"""Prompts from disk, ready to be recognised and replaced; and the conversations a gateway left behind."""

from pathlib import Path

from foundation.errors import SpanloopError
from foundation.files import write_atomically
from foundation.narration import get_logger
from foundation.settings import Settings
from foundation.state import StateUnreadable
from serve.prompts.prompting import Known, Prompting
from serve.prompts.registry import text_of
from serve.prompts.schema import AS_SENT, AgentPrompt, encode, read_prompts
from serve.prompts.template import Template
from serve.schema import read_file

log = get_logger("serve")


class Pins(Settings):
    """Conversations and the version each began under, by the digest of how it began."""

    pins: dict[str, list[str]]


def pins_path(data: Path) -> Path:
    """Return the file a gateway that stops leaves them in."""
    return data / "serve" / "prompts_pins.json"


def load(data: Path) -> list[Known]:
    """Return every agent's prompt with the texts that may be asked for: all there are, for conversations go on."""
    return [_known(data, prompt) for prompt in read_prompts(data).agents]


def _known(data: Path, prompt: AgentPrompt) -> Known:
    base = Template(prompt.base, prompt.is_template)
    numbers = range(AS_SENT + 1, prompt.newest + 1)
    # One that is gone or damaged and in force is said; of the others nobody may ever ask.
    needed = {prompt.live, *([] if prompt.canary is None else [int(prompt.canary.version)])}
    texts: dict[int, Template] = {}
    for number in numbers:
        try:
            texts[number] = Template(text_of(data, prompt, number), prompt.is_template)
        except Exception:
            if number in needed:
                raise
    return Known(prompt, base, texts)


def open_prompting(data: Path) -> Prompting:
    """Return the prompts of DATA, with the conversations that began before a restart."""
    prompting = Prompting(load(data))
    try:
        left = read_file(pins_path(data), Pins, hint="Remove it.")
    except StateUnreadable:
        left = None  # conversations may change their prompt once: no reason not to start
    if left is not None:
        prompting.restore(left.pins)
    return prompting


def leave(data: Path, prompting: Prompting) -> None:
    """Write down which conversation began under which version, for the next start.

    A disk that takes no more costs conversations their version, and nothing else of the end: what waits to be sent.
    """
    if pins := prompting.pins():
        try:
            write_atomically(pins_path(data), encode(Pins(pins=pins)))
        except (OSError, SpanloopError) as error:
            log.warning("conversations may change their prompt at the next start", reason=str(error).splitlines()[0])
