"""A recording of tasks that say nearly the same, so that buckets must come to groups together."""

import json
from pathlib import Path

from tests.export_requests import attribute, span, traces

QUESTIONS = (
    "A friend of mine looks for a quiet hotel near the old harbour of Bergen, for a week in May, with breakfast",
    "Which of the parcels that left the warehouse in the afternoon have not been scanned at any later place yet",
    "Write a letter to the landlord that asks politely for the repair of the heating before the winter comes",
)


def write_near_tasks(path: Path) -> Path:
    """Write an export request of two traces for each question, one with a word more than the other; return its path."""
    spans = []
    for number, question in enumerate(QUESTIONS):
        for copy, ending in enumerate(("", " please")):
            asked = {"role": "user", "parts": [{"type": "text", "content": question + ending}]}
            said = {"role": "assistant", "parts": [{"type": "text", "content": "Yes."}], "finish_reason": "stop"}
            position = 2 * number + copy + 1
            attributes = [
                attribute("gen_ai.operation.name", "chat"),
                attribute("gen_ai.input.messages", json.dumps([asked])),
                attribute("gen_ai.output.messages", json.dumps([said])),
            ]
            spans.append(span(position, trace_id=position.to_bytes(16, "big"), attributes=attributes))
    path.write_bytes(traces(*spans).SerializeToString())
    return path
