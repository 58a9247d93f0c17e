"""An agent that solves word problems with a calculator: AutoGen AgentChat, the calculator an MCP server.

It knows nothing of rewards, of training or of what traces it. The model's endpoint comes from OPENAI_BASE_URL.
"""

import os
from collections.abc import Sequence
from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import ModelInfo
from autogen_core.tools import BaseTool
from autogen_ext.models.openai import OpenAIChatCompletionClient

INSTRUCTIONS = "Solve the problem with the calculator. End with ### ANSWER: <answer> ###"


def connect(*, model: str, temperature: float, max_tokens: int) -> OpenAIChatCompletionClient:
    """Return a client of whatever endpoint serves the named model."""
    known = ModelInfo(vision=False, function_calling=True, json_output=False, family="unknown", structured_output=False)
    return OpenAIChatCompletionClient(
        model=model,
        base_url=os.environ.get("OPENAI_BASE_URL"),
        model_info=known,
        temperature=temperature,
        max_tokens=max_tokens,
    )


def build(
    client: OpenAIChatCompletionClient, calculator: Sequence[BaseTool[Any, Any]], *, max_steps: int
) -> AssistantAgent:
    """Return an agent for one problem; it may calculate so often, and then says what came of it."""
    return AssistantAgent(
        "calc",
        client,
        tools=list(calculator),
        system_message=INSTRUCTIONS,
        reflect_on_tool_use=True,
        max_tool_iterations=max_steps,
    )
