"""An MCP server with one tool: a calculator. It speaks over stdin and stdout.

python -m examples.calcx.calculator
"""

from mcp.server.fastmcp import FastMCP

from examples.calcx.arithmetic import evaluate, show

server = FastMCP("calculator", log_level="ERROR")


@server.tool(structured_output=False)
def calculate(expression: str) -> str:
    """Work out an arithmetic expression."""
    return show(evaluate(expression))


if __name__ == "__main__":
    server.run()
