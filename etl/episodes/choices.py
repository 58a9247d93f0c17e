"""Says which of several choices was the action: the one that the agent went on from."""

from collections.abc import Collection, Hashable, Iterable, Sequence

from etl.dialects.spans import LlmCall, ToolCall


def choose(
    calls: Sequence[LlmCall],
    causes: Iterable[tuple[ToolCall, LlmCall | None]],
    of_session: Collection[Hashable] = (),
) -> None:
    """Set the choice of calls with several, in place; `calls` are one episode's, numbered and as they began.

    `of_session` are the beginnings of every request of the episode's session: a chat goes on in its next trace. It is the first, in the order of choices, that a later request holds after the question; else whose tools ran; else
    whose words a later request holds; else the first choice. Its token ids and log-probabilities are the call's.
    """
    several = [call for call in calls if len(call.output or ()) > 1]
    if not several:
        return
    held = {number for call in calls for number in call.beginnings}.union(of_session)
    rows = {call.span.index for call in several}
    ran = {
        (cause.span.index, tool.tool_call_id)
        for tool, cause in causes
        if cause is not None and cause.span.index in rows
    }
    for call in several:
        said = {message.get("text") for other in calls if other is not call for message in other.input or ()}
        answers = call.output or []
        proofs = (
            [number in held for number in call.endings],
            [any((call.span.index, r["id"]) in ran for r in answer["tool_calls"] if r["id"]) for answer in answers],
            [bool(answer["text"]) and answer["text"] in said for answer in answers],
        )
        call.choice = next((proof.index(True) for proof in proofs if any(proof)), 0)
        if call.sampled:
            known = call.choice < len(call.sampled)
            call.response_token_ids, call.behavior_logprobs = call.sampled[call.choice] if known else (None, None)
