"""An agent of AutoGen with one tool."""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


async def main() -> None:
    """Ask it."""
    client = OpenAIChatCompletionClient(model="gpt-4o")
    agent = AssistantAgent("calculator", client, tools=[multiply], reflect_on_tool_use=True)
    print((await agent.run(task="What is 17 times 23?")).messages[-1].content)


asyncio.run(main())
