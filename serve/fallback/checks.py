"""What is wrong with a student's answer, as far as its form and its probability tell. Pure; nobody is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, get_args

from serve.api.answers import Choice, Recording
from serve.api.form import CALL_MARKS, REFUSALS, fits

Check = Literal["unparsed", "schema", "refusal", "improbable"]
ALL: tuple[Check, ...] = get_args(Check)


@dataclass(frozen=True)
class Checks:
    """The checks an answer must pass."""

    wanted: tuple[Check, ...] = ()
    min_logprob: float = -2.0
    """Mean log-probability of an answer's tokens below which it is `improbable`."""

    def find(self, request: Mapping[str, Any], recording: Recording) -> Check | None:
        """Return the first check that any of the choices fails; `request` is as the span describes it.

        >>> said = Recording(choices={0: Choice(text="I'm sorry, but I can't help with that.")})
        >>> Checks(("refusal",)).find({}, said), Checks(("unparsed",)).find({}, said)
        ('refusal', None)
        """
        return next(
            (
                check
                for check in self.wanted
                for each in recording.choices.values()
                if _fails(check, each, request, self.min_logprob)
            ),
            None,
        )


def _fails(check: Check, choice: Choice, request: Mapping[str, Any], min_logprob: float) -> bool:
    match check:
        case "unparsed":
            return bool(request.get("tools")) and CALL_MARKS.search(choice.text) is not None
        case "schema":
            schemas = _schemas(request)
            return not all(fits(call, schemas) for call in choice.tool_calls.values())
        case "refusal":
            return bool(choice.refusal or (not choice.tool_calls and REFUSALS.match(choice.text)))
        case "improbable":
            return bool(choice.logprobs) and not fmean(choice.logprobs) >= min_logprob


def _schemas(request: Mapping[str, Any]) -> dict[str, Any]:
    tools = request.get("tools")
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return {str(each.get("name")): each.get("parameters") for each in functions if isinstance(each, dict)}
