"""An agent of Google's Gen AI SDK, which calls the tool by itself."""

from google import genai
from google.genai import types


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


client = genai.Client()
chat = client.chats.create(model="scripted-1", config=types.GenerateContentConfig(tools=[multiply]))
print(chat.send_message("What is 17 times 23?").text)
