"""AgentOps: attributes as agentops 0.4.21 gave them over OpenAI's client 1.109."""

from typing import Any

from etl.exports.export import decoded
from tests.conversation import QUESTION, run
from tests.spans import span


def read(**attributes: Any) -> tuple[dict[str, Any], int]:
    """Return the model call of a span and the number of transitions; `__` in a name stands for a dot."""
    fields = {key.replace("__", "."): value for key, value in attributes.items()}
    tables = run(([span("call", attributes={"gen_ai.request.model": "m", **fields}, scope="openai")], [])).tables
    return decoded("llm_calls", tables["llm_calls"].row(0, named=True)), tables["transitions"].height


def test_an_embedding_is_no_chat() -> None:
    """Its texts are numbered as prompts, the sizes of its vectors as answers."""
    call, transitions = read(
        gen_ai__request__type="embedding",
        gen_ai__prompt__0__content="a b",
        gen_ai__prompt__1__content="c",
        gen_ai__completion__0__embedding_length=4,
        gen_ai__completion__1__embedding_length=4,
    )

    assert (call["api"], call["input"]) == ("embeddings", ["a b", "c"])
    assert [vector["embedding_dimensions"] for vector in call["output"]] == [4, 4]
    assert transitions == 0


def test_a_completion_is_of_its_own_api() -> None:
    """The request's type is all that tells it from a chat."""
    call, _ = read(gen_ai__request__type="completion", gen_ai__prompt__0__content="Once")

    assert (call["api"], call["input"]) == ("completions", [{"role": "user", "text": "Once"}])


def test_a_request_with_a_message_missing_trains_nothing() -> None:
    """A message that was the client's own object is left out, its number with it."""
    asked = {"gen_ai__prompt__0__role": "user", "gen_ai__prompt__0__content": QUESTION}
    result = {"role": "tool", "content": "84", "tool_call_id": "call_1"}
    said = {"gen_ai__completion__0__role": "assistant", "gen_ai__completion__0__content": "84"}

    request = {"id": "call_1", "name": "calculator", "arguments": "{}"}
    called = {f"gen_ai__prompt__1__tool_calls__0__{key}": value for key, value in request.items()}
    called["gen_ai__prompt__1__role"] = "assistant"

    def numbered_as(number: int) -> int:
        late = {f"gen_ai__prompt__{number}__{key}": value for key, value in result.items()}
        return read(gen_ai__request__type="chat", **asked, **called, **late, **said)[1]

    assert (numbered_as(2), numbered_as(3)) == (1, 0)
