"""OpenInference's numbered attributes: `llm.input_messages.N.message.*`, `llm.tools.N.*` and the like.

https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
"""

from typing import Any

from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.messages.canonical import canonical_input, canonical_output
from etl.dialects.shapes.messages.names import visible
from etl.dialects.shapes.messages.tools import definition
from etl.dialects.shapes.values import Attributes, numbered
from etl.dialects.spans import Message


def _message(fields: dict[str, Any]) -> dict[str, Any]:
    """Rebuild one message, in the wire's shape, from its attributes below `message.`."""
    role = fields.get("message.role")
    content: Any = fields.get("message.content")
    blocks: list[dict[str, Any]] = []
    for block in numbered(fields, "message.contents").values():
        kind = block.get("message_content.type")
        if kind == "tool_use":
            continue  # repeats the message's tool_calls
        text = block.get("message_content.text")
        blocks.append({"type": kind, "text": text} if text is not None else _medium(kind, block))
    if blocks and (content is None or any(block["type"] not in {"text", None} for block in blocks)):
        content = blocks
    calls = [
        {
            "id": call.get("tool_call.id"),
            "name": call.get("tool_call.function.name"),
            "arguments": call.get("tool_call.function.arguments"),
        }
        for call in numbered(fields, "message.tool_calls").values()
    ]
    item: dict[str, Any] = {"role": role, "content": fields.get("thought") if content is None else content}
    if calls:
        item["tool_calls"] = calls
    if fields.get("message.tool_call_id") is not None:
        item["tool_call_id"] = fields["message.tool_call_id"]
    return item


def _medium(kind: Any, block: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """Return a medium as a block of the wire: `message_content.image.image.url` and the like."""
    name = "image_url" if kind == "image" else kind
    held = {rest.rsplit(".", 1)[-1]: value for rest, value in block.items() if rest != "message_content.type"}
    return {"type": name, **({str(name): held} if held else {})}


def has_gaps(attributes: Attributes) -> bool:
    """Tell whether a message in the middle has no attributes: Mistral's own objects are not understood."""
    numbers = list(numbered(attributes, "llm.input_messages"))
    return bool(numbers) and numbers[-1] - numbers[0] >= len(numbers)


def indexed_input(attributes: Attributes) -> list[Message] | None:
    """Read `llm.input_messages.N`; AutoGen's results of tools stand in fields of their own."""
    items: list[Any] = []
    for fields in numbered(attributes, "llm.input_messages").values():
        functions = numbered(fields, "message.function") or {
            int(key.rsplit(".", 1)[1]): {"": value}
            for key, value in fields.items()
            if key.startswith("function.") and key.rsplit(".", 1)[1].isdigit()
        }
        if functions:
            items += [_autogen_result(entry[""]) for entry in functions.values() if "" in entry]
        else:
            items.append(_message(fields))
    return canonical_input(items) if items else None


def _autogen_result(value: Any) -> dict[str, Any]:  # noqa: ANN401
    """AutoGen's tool results: {"name", "content", "call_id", "is_error"} as JSON."""
    result = decode(value)
    result = result if isinstance(result, dict) else {"content": value}
    return {"role": "tool", "content": result.get("content"), "tool_call_id": result.get("call_id")}


def indexed_output(attributes: Attributes) -> list[Message] | None:
    """Read `llm.output_messages.N`."""
    items = [_message(fields) for fields in numbered(attributes, "llm.output_messages").values()]
    return canonical_output(items) if items else None


def indexed_prompts(attributes: Attributes) -> list[Message] | None:
    """Read what a completions API was given: bare texts."""
    listed = attributes.get("llm.prompts")  # LlamaIndex's
    texts = [fields.get("prompt.text") for fields in numbered(attributes, "llm.prompts").values()]
    texts = texts or (listed if isinstance(listed, list) else [])
    return [{"role": "user", "text": text} for text in texts if visible(text) is not None] or None


def indexed_completions(attributes: Attributes) -> list[Message] | None:
    """Read what a completions API answered; DSPy's answers that are more than a text stand in the output alone."""
    texts = [fields.get("completion.text") for fields in numbered(attributes, "llm.choices").values()]
    recorded = attributes.get("output.value")
    if "llm.prompts" in attributes and visible(recorded) is not None:
        texts = [recorded]
    elif not texts and isinstance(recorded, str) and recorded.startswith('[{"text"'):
        texts = [item.get("text") for item in decode(recorded) or () if isinstance(item, dict)]
    return canonical_output([{"content": text} for text in texts]) if texts else None


def indexed_tools(attributes: Attributes) -> list[dict[str, Any]] | None:
    """Read `llm.tools.N.tool.json_schema`, each in its provider's own shape."""
    found = [definition(fields.get("tool.json_schema")) for fields in numbered(attributes, "llm.tools").values()]
    return [tool for tool in found if tool is not None] or None
