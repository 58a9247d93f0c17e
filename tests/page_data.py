"""A DATA directory with something on every page, and hostile text in every field that somebody else fills."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from foundation.files import write_json
from receiver.schema import TABLES
from serve.change import registry
from serve.prompts import registry as prompts
from spanloop.page.traces.otlp import resource_logs, resource_spans
from tests.commands import spanloop
from tests.nights import train
from tests.spans import START_NS, Span, identifier, llm, span

HOSTILE = "\"'><script>window.planted=1</script><img src=x onerror=window.planted=1>{{7*7}}</textarea></title>\u202e"

PROMPTED = HOSTILE.removesuffix("\u202e")
"""An agent whose prompt is kept; its name can be printed."""

HOSTILE_NAME = HOSTILE.partition("</")[0] + "<img src=x onerror=window.planted=1>"
"""A checkpoint's: that of a directory."""

NAMES = {table: [column.name for column in columns] for table, columns in TABLES.items()}
SERVICES = ("shop", "bank")
NUM_PLAIN = 64
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURED = 1
"""The plain trace whose call was shown a picture."""

PICTURE = [
    {"type": "text", "content": f"question {PICTURED}"},
    {"type": "blob", "modality": "image", "mime_type": "image/png", "content": PIXEL},
]
TRACE = identifier("hostile", 32)


def plain(number: int) -> list[Span]:
    """Return a trace of three spans: every third fails, every tenth has no root; four begin at one instant each."""
    trace, start = f"plain-{number}", float(number // 4 * 60)
    service = SERVICES[number % 2]
    parent = None if number % 10 else "never-came"
    seen = {} if number != PICTURED else {"gen_ai.input.messages": json.dumps([{"role": "user", "parts": PICTURE}])}
    rows = [
        span(f"root-{number}", trace=trace, parent=parent, start=start, end=start + 9),
        span(
            f"work-{number}", trace=trace, parent=f"root-{number}", start=start + 1, end=start + 3,
            status="ok" if number % 3 else "error",
        ),
        llm(f"call-{number}", trace=trace, parent=f"root-{number}", start=start + 4, agent=f"agent-{number % 3}",
            asked=(("user", f"question {number}"),), attributes=seen),
    ]  # fmt: skip
    return [row | {"service_name": service, "resource": json.dumps({"service.name": service})} for row in rows]


def hostile() -> list[Span]:
    """Return a trace in which every text is hostile: two calls, a failing tool, and a score."""
    called = {"tool": HOSTILE, HOSTILE: HOSTILE}
    score = {
        "gen_ai.evaluation.name": "outcome",
        "gen_ai.evaluation.score.value": 0.25,
        "gen_ai.evaluation.score.label": HOSTILE,
        "gen_ai.evaluation.explanation": HOSTILE,
    }
    event = {"name": "gen_ai.evaluation.result", "time_ns": START_NS, "attributes": score}
    named_so = {**event, "attributes": {**score, "gen_ai.evaluation.name": HOSTILE}}
    noted = {"name": HOSTILE, "time_ns": START_NS, "attributes": {HOSTILE: HOSTILE}}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": HOSTILE, "gen_ai.tool.call.id": "call_1"}
    common = {HOSTILE: HOSTILE, "gen_ai.provider.name": HOSTILE, "gen_ai.response.model": HOSTILE,
              "user.id": HOSTILE, "spanloop.task.id": HOSTILE, "spanloop.import.source": HOSTILE}  # fmt: skip
    failed = {"status": "error", "message": HOSTILE}
    rows = [
        span("root", trace="hostile", end=60, events=[event, named_so, noted], attributes=common, **failed),
        llm("first", trace="hostile", parent="root", start=1, agent=HOSTILE, said=HOSTILE, attributes=common,
            asked=(("system", HOSTILE), ("user", HOSTILE)), calls=[("call_1", HOSTILE, called)]),
        span("tool", trace="hostile", parent="root", start=3, attributes={**tool, **common}, **failed),
        llm("second", trace="hostile", parent="root", start=5, agent=HOSTILE, said=HOSTILE, attributes=common,
            asked=(("system", HOSTILE), ("user", HOSTILE), ("tool", HOSTILE))),
    ]  # fmt: skip
    named = {
        "name": HOSTILE,
        "service_name": HOSTILE,
        "resource": json.dumps({"service.name": HOSTILE, HOSTILE: HOSTILE}),
    }
    return [row | named | {"scope_version": HOSTILE, "trace_state": "a=b"} for row in rows]


def logs() -> list[dict[str, Any]]:
    """Return a log record of the hostile trace, and a score of its answer that names no trace."""
    named = {"gen_ai.evaluation.name": "style", "gen_ai.evaluation.score.value": 0.5, "spanloop.episode.id": TRACE}
    common = {"severity_number": 9, "resource": json.dumps({"service.name": HOSTILE}), "scope_name": HOSTILE}
    return [
        {**common, "trace_id": TRACE, "span_id": identifier("first", 16), "time_ns": START_NS + 1,
         "event_name": HOSTILE, "body": json.dumps({HOSTILE: [HOSTILE, 1.0, None]}), "attributes": None},
        {**common, "time_ns": START_NS + 2, "event_name": "gen_ai.evaluation.result", "attributes": json.dumps(named)},
    ]  # fmt: skip


def store(data: Path, rows: list[Span], records: Sequence[dict[str, Any]] = ()) -> None:
    """Have spans and log records stored as if they had arrived."""
    request = {
        "resourceSpans": resource_spans([dict.fromkeys(NAMES["spans"]) | row for row in rows]),
        "resourceLogs": resource_logs([dict.fromkeys(NAMES["log_records"]) | row for row in records]),
    }
    path = data.parent / f"{data.name}-{len(rows)}.json"
    path.write_text(json.dumps(request))
    done = spanloop("receiver", "import", "--data", data, path)
    assert done.returncode == 0, done.stderr


def make(data: Path) -> Path:
    """Make the directory: spans, what the ETL reads in them, a checkpoint with its credit, nights, what is live."""
    data.mkdir(parents=True)
    store(data, [*hostile(), *(row for number in range(NUM_PLAIN) for row in plain(number))], logs())
    done = spanloop("etl", "run", "--data", data, "--complete-after", "0")
    assert done.returncode == 0, done.stderr
    model = data / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    registry.initialise(data, model, "base")
    learn(data, model)
    return data


def learn(data: Path, model: Path) -> None:
    """Leave what a night leaves that was refused, and one that was promoted, with hostile names."""
    promoted, refused = (Path(train(data / "checkpoints", model)["checkpoint"]) for _ in range(2))
    for path, verdict, reason in (
        (promoted, "passed", "gain +0.2000 an episode in [+0.1000, +0.3000]"),
        (refused, "refused", f"worse than what it is compared with: {HOSTILE}"),
    ):
        manifest = json.loads((path / "manifest.json").read_bytes())
        estimate = {
            "gain": 0.2,
            "gain_low": 0.1,
            "gain_high": 0.3,
            "num_episodes": 40,
            "kl_call": 0.1,
            "ess_share": 0.7,
        }
        gate = {
            "verdict": verdict,
            "passed": verdict == "passed",
            "reason": reason,
            "hint": HOSTILE,
            "estimate": estimate,
        }
        hostile = {"agents": [HOSTILE], "notes": HOSTILE, "settings": {**manifest["settings"], HOSTILE: HOSTILE}}
        window = {
            **manifest["window"],
            "counts": {"set_aside": {HOSTILE: 1}, "routes": [{"known": HOSTILE, "why": HOSTILE}]},
        }
        write_json(path / "manifest.json", {**manifest, **hostile, "window": window, "gate": gate})
        updates = [
            {"update": number, "epoch": 0, "loss": 1 / number, "reward": number / 30, "ratio_mean": 1.0,
             "kl_call": 0.01, "log_ratio_p01": -0.1, "log_ratio_p50": 0.0, "log_ratio_p99": 0.1, "staleness/0": 1.0,
             f"reward/{HOSTILE}": 0.5}
            for number in range(1, 31)
        ]  # fmt: skip
        (path / "metrics.jsonl").write_text("".join(json.dumps(update) + "\n" for update in updates))
    named = data / "checkpoints" / HOSTILE_NAME
    named.mkdir()
    write_json(named / "manifest.json", json.loads((refused / "manifest.json").read_bytes()))
    (named / "config.json").write_text("{}")
    calls = [
        (identifier("hostile", 32), identifier("first", 16)),
        (identifier("hostile", 32), identifier("second", 16)),
    ]
    pl.DataFrame(
        {
            "project": "default", "checkpoint_id": promoted.name, "episode_id": [trace for trace, _ in calls],
            "span_id": [span_id for _, span_id in calls], "agent": HOSTILE, "turn": [0, 1], "outcome": 0.25,
            "intermediate": 0.0, "return_": 0.25, "value": [0.6, 0.1], "advantage": [-0.35, 0.15], "known": "exact",
            "loss": "cispo", "weight": 1.0, "taken": [-0.35, 0.15], "num_tokens": 3,
        },
        schema_overrides={"turn": pl.Int32, "num_tokens": pl.Int32},
    ).write_parquet(promoted / "credit.parquet")  # fmt: skip
    for number, (path, status) in enumerate(((promoted, "done"), (refused, "refused"))):
        manifest = json.loads((path / "manifest.json").read_bytes())
        day = f"2026-01-0{number + 1}"
        night = {
            "run_id": f"night{number}", "command": "nightly", "status": status, "checkpoint": str(path),
            "started_time": f"{day}T02:00:00+00:00", "ended_time": f"{day}T02:00:12+00:00", "duration_s": 12.5,
            "phases": [{"name": "etl", "duration_s": 2.5}, {"name": HOSTILE, "duration_s": 10.0}],
            "etl": {
                "spans": {"in": 394, "used": {"llm_call": 132}, "ignored": {"ordinary": 261}, "rejected": {HOSTILE: 1}},
                "calls": {"in": 132, "transitions": 130, "rejected": {HOSTILE: 2}}, "episodes": 131,
                "rewards": {"outcome": 1}, "evidence": {"C": 130},
            },
            "train": {
                "num_updates": 30, "num_trained_calls": 2, "num_calls": 130, "set_aside": {HOSTILE: 128},
                "routes": [{"known": "exact", "loss": "cispo", "why": HOSTILE, "num_calls": 2, "num_tokens": 6}],
            },
            "evaluate": {"gate": manifest["gate"]},
        }  # fmt: skip
        write_json(data / "nightly" / "runs" / f"night{number}.json", night)
    write_json(data / "replays" / "replay0.json", asked_anew())
    prompts.keep(
        data, PROMPTED, f"Be kinder. {HOSTILE}", base="Be kind.", is_template=False, report={"reason": HOSTILE}
    )
    prompts.keep(data, PROMPTED, "Be kinder.\nBe brief.", parent=1)
    prompts.promote(data, PROMPTED, 1, reason=HOSTILE)
    registry.promote(data, promoted_with_config(promoted), promoted.name, behavior=True, reason=HOSTILE)


def asked_anew() -> dict[str, Any]:
    """Return what a replay leaves, with hostile names."""
    side = {"share_whole": 0.9, "agreement": 0.8, "duration_s": 0.5, "prompt_tokens": 90.0, "answer_tokens": 9.0}
    interval = {"mean": -0.3, "low": -0.4, "high": -0.2}
    return {
        "run_id": "replay0", "command": "replay", "status": "refused", "started_time": "2026-01-03T02:00:00+00:00",
        "arguments": {"candidate": HOSTILE, "prompt": HOSTILE, "against": None, "margin": 0.1},
        "num_states": 2, "num_tasks": 1, "candidate": HOSTILE,
        "comparison": {
            "teacher": {**side, "score": {"mean": 0.8, "low": 0.7, "high": 0.9}, "cost": 0.002},
            "candidate": {**side, "score": {"mean": 0.5, "low": 0.4, "high": 0.6}, "cost": None},
            "difference": interval, "ends": {"answered": 1, HOSTILE: 1},
        },
        "gate": {"verdict": "refused", "passed": False, "reason": f"worse: {HOSTILE}", "hint": HOSTILE},
        "states": [
            {"project": "default", "trace_id": TRACE, "span_id": identifier("first", 16), "agent": HOSTILE,
             "end": HOSTILE, "before": 1.0, "after": 0.0},
            {"project": HOSTILE, "trace_id": HOSTILE, "span_id": HOSTILE, "agent": None, "end": "answered",
             "before": None, "after": 0.5},
        ],
    }  # fmt: skip


def promoted_with_config(path: Path) -> Path:
    """Return a checkpoint's directory as one that can be served."""
    (path / "config.json").write_text("{}")
    return path
