"""An agent of LangChain, which runs on LangGraph, with one tool."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


agent = create_agent(ChatOpenAI(model="scripted-1"), tools=[multiply], name="calculator")
answer = agent.invoke({"messages": [{"role": "user", "content": "What is 17 times 23?"}]})
print(answer["messages"][-1].content)
