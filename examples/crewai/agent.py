"""A crew of CrewAI: one agent, one task, one tool."""

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool


@tool("multiply")
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


agent = Agent(
    role="calculator",
    goal="Answer questions about numbers.",
    backstory="You use the tool.",
    tools=[multiply],
    llm=LLM(model="openai/gpt-4o"),
)
task = Task(description="What is 17 times 23?", expected_output="A number.", agent=agent)
print(Crew(agents=[agent], tasks=[task]).kickoff())
