"""An agent as any team would write it: one model, one tool, the OpenAI Agents SDK. It knows nothing of Spanloop.

The model's endpoint comes from OPENAI_BASE_URL, as for every OpenAI client.
"""

import ast
import operator
import re

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, function_tool
from openai import AsyncOpenAI

INSTRUCTIONS = "Use the calculator."

MAX_TURNS = 4
"""Model calls an episode may take: a calculation, an answer, and two to recover from a mistake."""

_EXPRESSION = re.compile(r"[0-9+\-*/(). ]{1,100}")
"""What the parser is given at all; the length bounds its work."""

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def evaluate(expression: str) -> int | float:
    """Work out an expression of numbers, + - * / and brackets; whole results come back as int.

    Raises ValueError for anything else, ZeroDivisionError where it applies.

    >>> evaluate("2*(3+4)"), evaluate("6/4")
    (14, 1.5)
    """
    if not _EXPRESSION.fullmatch(expression):
        raise ValueError("only numbers, + - * / and brackets are known")
    try:
        result = _evaluate(ast.parse(expression.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ValueError("this is not an expression") from error
    return int(result) if result == int(result) else result


def _evaluate(node: ast.expr) -> int | float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left), _evaluate(right))
        case _:
            raise ValueError("only + - * / are known")


@function_tool(strict_mode=False)  # the model must learn the form of a call: a strict schema lets a server force it
def calculator(expression: str) -> str:
    """Work out an arithmetic expression."""
    return str(evaluate(expression))


def build_agent(client: AsyncOpenAI, *, model: str, temperature: float) -> Agent:
    """Return the agent, answering with the named model."""
    return Agent(
        name="solver",
        instructions=INSTRUCTIONS,
        model=OpenAIChatCompletionsModel(model, openai_client=client),
        model_settings=ModelSettings(temperature=temperature, max_tokens=48),
        tools=[calculator],
    )
