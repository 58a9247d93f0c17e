"""An agent of Microsoft's Agent Framework with one tool."""

import asyncio

from agent_framework import Agent
from agent_framework.openai import OpenAIChatCompletionClient


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


async def main() -> None:
    """Ask it."""
    agent = Agent(client=OpenAIChatCompletionClient(model="scripted-1"), name="calculator", tools=[multiply])
    print(await agent.run("What is 17 times 23?"))


asyncio.run(main())
