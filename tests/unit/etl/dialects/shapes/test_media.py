"""Images and files in messages: the same part whoever recorded them, known by a digest, in every export or counted."""

import json
from typing import Any

import pytest

from etl.exports.interchange import FORMATS, lacks_media
from etl.settings import EtlConfig
from etl.tables import Dataset
from etl.transform import transform
from tests.spans import Span, identifier, llm, logs_frame, span, spans_frame

URL = "https://shop.example/a.png"
DATA = "data:image/png;base64,iVBORw0="
IMAGES: list[tuple[dict[str, Any], str]] = [
    ({"type": "image_url", "image_url": {"url": URL}}, URL),
    ({"type": "image_url", "image_url": URL}, URL),
    ({"type": "input_image", "image_url": DATA}, DATA),
    ({"type": "image", "source": {"type": "url", "url": URL}}, URL),
    ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}}, DATA),
    ({"type": "uri", "modality": "image", "mime_type": "image/png", "uri": URL}, URL),
    ({"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBORw0="}, DATA),
    ({"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}}, DATA),
    ({"type": "image", "image": DATA, "mediaType": "image/png"}, DATA),
]


def asked(*blocks: dict[str, Any], said: str = "A cat.", **rest: Any) -> Span:
    """Return a call whose question has these blocks."""
    parts = [{"type": "text", "content": "What is it?"}, *blocks]
    request = json.dumps([{"role": "user", "parts": parts}])
    return llm(rest.pop("name", "a"), said=said, attributes={"gen_ai.input.messages": request}, **rest)


def run(*spans: Span) -> Dataset:
    """Run the ETL, taking every trace as complete."""
    return transform(spans_frame(spans), logs_frame(), EtlConfig(complete_after=0))


def rows(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the transitions with their messages decoded."""
    decoded = ("observation", "media", "action", "tools")
    return [
        {name: json.loads(value) if name in decoded and value else value for name, value in row.items()}
        for row in dataset.tables["transitions"].iter_rows(named=True)
    ]


@pytest.mark.parametrize(("block", "url"), IMAGES)
def test_an_image_is_carried_as_it_was_sent(block: dict[str, Any], url: str) -> None:
    """In OpenAI's shape, in its place among the texts, with a digest, and so in every format."""
    row = rows(run(asked(block, {"type": "text", "content": "Be brief."})))[0]

    parts = row["media"][0]["parts"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text"]
    assert parts[1]["image_url"]["url"] == url
    assert len(parts[1]["digest"]) == 16
    assert not lacks_media(row)
    for form in ("trl", "openai", "verl"):
        line = FORMATS[form](row)
        content = (line.get("prompt") or line["messages"])[0]["content"]
        assert content[1] == {"type": "image_url", "image_url": parts[1]["image_url"]}
    assert url in FORMATS["datasets"](row)["messages"][0]["parts"]


def test_numbered_attributes_hold_images_too() -> None:
    """OpenInference's."""
    fields = {
        "openinference.span.kind": "LLM",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "A cat.",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.contents.0.message_content.type": "text",
        "llm.input_messages.0.message.contents.0.message_content.text": "What is it?",
        "llm.input_messages.0.message.contents.1.message_content.type": "image",
        "llm.input_messages.0.message.contents.1.message_content.image.image.url": URL,
    }
    row = rows(run(span("a", attributes=fields)))[0]

    assert row["media"][0]["parts"][1]["image_url"] == {"url": URL}


def test_two_images_under_one_text_are_two_tasks() -> None:
    """And one of them again is the same task, whoever recorded it."""
    other = {"type": "image_url", "image_url": {"url": URL + "?2"}}
    spans = [asked(block, name=str(number), trace=str(number)) for number, block in enumerate([IMAGES[0][0], other])]
    again = asked(IMAGES[3][0], name="again", trace="again")

    tasks = {row["span_id"]: row["task_id"] for row in rows(run(*spans, again))}

    assert len({tasks[identifier(str(number), 16)] for number in range(2)}) == 2
    assert tasks[identifier("again", 16)] == tasks[identifier("0", 16)]


def test_another_image_is_no_retry() -> None:
    """The same words about another picture are another question."""
    first = asked(IMAGES[0][0], parent="root", start=1, end=2)
    other = {"type": "image_url", "image_url": {"url": URL + "?2"}}
    second = asked(other, name="b", parent="root", start=3, end=4, said="A dog.")
    request = [
        {"role": "user", "parts": [{"type": "text", "content": "What is it?"}, other]},
        {"role": "assistant", "parts": [{"type": "text", "content": "A dog."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Sure?"}]},
    ]
    third = llm("c", parent="root", start=5, end=6, attributes={"gen_ai.input.messages": json.dumps(request)})

    dataset = run(span("root", end=9), first, second, third)

    assert dataset.tables["transitions"].height == 3
    assert [json.loads(text)["retry"] for text in dataset.tables["transitions"]["signals"]] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("hidden", [{"type": "image_url", "image_url": {"url": "__REDACTED__"}}, {"type": "image"}])
def test_an_image_that_was_hidden_is_in_no_export(hidden: dict[str, Any]) -> None:
    """A line without it teaches to describe what was not shown."""
    row = rows(run(asked(hidden)))[0]

    assert lacks_media(row)
    assert "digest" not in row["media"][0]["parts"][1]


def test_audio_and_files_are_parts_of_their_own() -> None:
    """As the API has them."""
    audio = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    file = {"type": "file", "file": {"file_id": "file-1"}}

    parts = rows(run(asked(audio, file)))[0]["media"][0]["parts"]

    assert parts[1]["input_audio"] == {"data": "UklGRg==", "format": "wav"}
    assert parts[2]["file"] == {"file_id": "file-1"}


def test_an_answer_of_reasoning_alone_is_an_answer() -> None:
    """Exported as such."""
    thought = [{"role": "assistant", "parts": [{"type": "reasoning", "content": "17*23"}], "finish_reason": "length"}]
    row = rows(run(llm("a", attributes={"gen_ai.output.messages": json.dumps(thought)})))[0]

    assert row["action"]["reasoning"] == "17*23"
    assert FORMATS["trl"](row)["completion"][0]["reasoning_content"] == "17*23"
