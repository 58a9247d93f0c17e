"""A function-calling agent of LlamaIndex."""

import asyncio
import os

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


async def main() -> None:
    """Ask it."""
    llm = OpenAILike(
        model="scripted-1",
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        is_function_calling_model=True,
    )
    agent = FunctionAgent(name="calculator", tools=[multiply], llm=llm, system_prompt="Use the tool.")
    print(await agent.run("What is 17 times 23?"))


asyncio.run(main())
