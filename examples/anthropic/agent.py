"""An agent of Anthropic's SDK: a loop around messages and one tool."""

from anthropic import Anthropic

SCHEMA = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}
TOOLS = [{"name": "multiply", "description": "Multiply two numbers.", "input_schema": SCHEMA}]
client = Anthropic()
messages = [{"role": "user", "content": "What is 17 times 23?"}]
while True:
    answer = client.messages.create(model="scripted-1", max_tokens=100, messages=messages, tools=TOOLS)
    messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]})
    calls = [block for block in answer.content if block.type == "tool_use"]
    if not calls:
        break
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": str(call.input["a"] * call.input["b"])}
        for call in calls
    ]
    messages.append({"role": "user", "content": results})
print(answer.content[0].text)
