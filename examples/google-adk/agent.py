"""An agent of Google's ADK with one tool."""

import asyncio

from google.adk.agents import Agent
from google.adk.runners import InMemoryRunner


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


async def main() -> None:
    """Ask it."""
    agent = Agent(name="calculator", model="gemini-scripted-1", instruction="Use the tool.", tools=[multiply])
    for event in await InMemoryRunner(agent=agent).run_debug("What is 17 times 23?", quiet=True):
        if event.is_final_response() and event.content:
            print(event.content.parts[0].text)


asyncio.run(main())
