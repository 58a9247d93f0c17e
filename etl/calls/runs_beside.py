"""Finds runs of agents that were read as calls, as no parent ties them to their calls any more."""

from collections import defaultdict
from collections.abc import Callable, Hashable

from etl.calls.likeness import message_key, said, tool_call_ids
from etl.dialects.spans import LlmCall

MOST_ALIKE = 64
"""How many calls of a trace that said the same are compared: a run and its calls are a handful."""


def runs_beside(calls: list[LlmCall], group_of: Callable[[int], int]) -> set[int]:
    """Return the numbers of what covers calls in time, was asked what the first was, and answered as the last did.

    Or asked for the tools of one, and more.
    """
    alike: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for number, call in enumerate(calls):
        for told in (said(call), *tool_call_ids(call)) if call.input else ():
            if told:
                alike[call.span.project, call.span.trace_id, told].append(number)
    return {
        one
        for numbers in {tuple(numbers[:MOST_ALIKE]) for numbers in alike.values() if len(numbers) > 1}
        for one in numbers
        for other in numbers
        if one != other and _is_run_of(calls[one], calls[other]) and group_of(one) != group_of(other)
    }


def _is_run_of(run: LlmCall, call: LlmCall) -> bool:
    is_around = run.span.start_ns <= call.span.start_ns and call.span.end_ns <= run.span.end_ns
    if run.response_id is not None or not is_around:
        return False
    asked, known = _asked(run), _asked(call)
    is_longer = len(known) > len(asked) or len(tool_call_ids(run)) > len(tool_call_ids(call))
    return is_longer and known[: len(asked)] == asked


def _asked(call: LlmCall) -> list[Hashable]:
    """Return what was said before the answer, but for instructions, which a run's span may lack."""
    return [message_key(message) for message in call.input or () if message["role"] != "system"]
