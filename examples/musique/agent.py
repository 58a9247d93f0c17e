"""An agent that answers a question of several hops by searching: OpenAI's Agents SDK, retrieval as an MCP server.

It knows nothing of rewards, of training or of what traces it. The model's endpoint comes from OPENAI_BASE_URL.
"""

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel
from agents.mcp import MCPServer
from openai import AsyncOpenAI

INSTRUCTIONS = "Search step by step, one fact a query. Then answer in <answer></answer>."


def build(client: AsyncOpenAI, retrieval: MCPServer, *, model: str, temperature: float, max_tokens: int) -> Agent[None]:
    """Return the agent, answering with the named model and searching with a running server."""
    return Agent(
        name="researcher",
        instructions=INSTRUCTIONS,
        model=OpenAIChatCompletionsModel(model, openai_client=client),
        model_settings=ModelSettings(temperature=temperature, max_tokens=max_tokens),
        mcp_servers=[retrieval],
    )
