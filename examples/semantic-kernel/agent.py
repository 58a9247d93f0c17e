"""An agent of Semantic Kernel with one plugin."""

import asyncio
import logging

from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function


class Calculator:
    """A plugin."""

    @kernel_function
    def multiply(self, a: int, b: int) -> int:
        """Multiply two numbers."""
        return a * b


async def main() -> None:
    """Ask it."""
    agent = ChatCompletionAgent(
        name="calculator", service=OpenAIChatCompletion(ai_model_id="scripted-1"), plugins=[Calculator()]
    )
    print(await agent.get_response("What is 17 times 23?"))


logging.basicConfig(level=logging.INFO)  # the kernel tells what was said in log records of this level
asyncio.run(main())
