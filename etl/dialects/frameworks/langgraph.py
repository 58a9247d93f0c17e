"""LangGraph's graphs and nodes, as OpenInference and LangSmith record them: which agent is at work in them.

An agent is a graph with a name, and its answers bear that name. Its node is called "agent" in every prebuilt one.

https://github.com/langchain-ai/langgraph, `create_react_agent`
"""

from typing import Any

from etl.dialects.shapes.json_values import decode
from etl.dialects.shapes.values import Attributes, text_of

NAMELESS = "LangGraph"
"""What a graph is called that was given no name."""


def metadata_of(attributes: Attributes) -> dict[str, Any]:
    """Return LangChain's metadata of a run; empty where there is none."""
    metadata = decode(attributes.get("metadata"))
    return metadata if isinstance(metadata, dict) else {}


def is_named_graph(name: str, metadata: dict[str, Any]) -> bool:
    """Tell whether a run is one of a whole graph that was given a name; inside another it is told as its node."""
    is_graph = metadata.get("ls_integration") == "langgraph" and metadata.get("langgraph_node") is None
    return is_graph and name != NAMELESS


def agent_of_node(name: str, metadata: dict[str, Any], output: Any) -> str | None:  # noqa: ANN401 - any attribute value
    """Return the name that the answers of a graph's node bear, where it is one name; else None."""
    if metadata.get("langgraph_node") != name:
        return None
    value = decode(output)
    messages = value.get("messages") if isinstance(value, dict) else None
    answers = [item for item in messages or () if isinstance(item, dict) and item.get("type") == "ai"]
    names = {text_of(item["data"] if isinstance(item.get("data"), dict) else item, "name") for item in answers}
    return names.pop() if len(names) == 1 else None
