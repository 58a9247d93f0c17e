"""An agent of OpenAI's Agents SDK with one tool."""

from agents import Agent, Runner, function_tool


@function_tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


agent = Agent(name="calculator", instructions="Use the tool.", model="scripted-1", tools=[multiply])
print(Runner.run_sync(agent, "What is 17 times 23?").final_output)
