"""An agent of Pydantic AI with one tool. It records spans where `instrument_all` asks for them."""

from pydantic_ai import Agent

Agent.instrument_all()
agent = Agent("openai-chat:scripted-1", name="calculator", instructions="Use the tool.")


@agent.tool_plain
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


print(agent.run_sync("What is 17 times 23?").output)
