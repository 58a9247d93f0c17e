"""An agent of Strands with one tool."""

from strands import Agent, tool
from strands.models.openai import OpenAIModel


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


agent = Agent(
    name="calculator",
    model=OpenAIModel(model_id="scripted-1"),
    tools=[multiply],
    system_prompt="Use the tool.",
    callback_handler=None,
)
print(agent("What is 17 times 23?"))
