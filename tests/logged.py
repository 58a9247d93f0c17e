"""A published dataset of transitions without an ETL: rows with defaults, and the files a reader looks for."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from etl.schema import SCHEMA_VERSION, TABLES, dataset_directory, watermark_path

DEFAULTS: dict[str, Any] = {
    "project": "test",
    "episode_id": "episode",
    "trace_id": "0" * 32,
    "span_id": "0" * 16,
    "agent": "agent",
    "step": 0,
    "task_id": "task",
    "revision": 0,
    "done": True,
    "prompt_token_ids": [1, 2, 3],
    "response_token_ids": [4, 5],
    "behavior_logprobs": [-1.0, -1.0],
    "logprobs_mode": "processed",
    "temperature": 1.0,
    "top_p": 1.0,
    "outcome": 1.0,
    "evidence": "A",
    "split": "train",
}


def transition(**fields: object) -> dict[str, Any]:
    """Return one row: an exactly recorded, successful, single-step episode but for what is said otherwise."""
    return DEFAULTS | fields


def frame(rows: Iterable[dict[str, Any]], table: str = "transitions") -> pl.DataFrame:
    """Return rows of a table as a frame in the contract's columns and types."""
    types = {
        name: pl.List(getattr(pl, dtype[5:-1])) if dtype.startswith("List") else getattr(pl, dtype)
        for name, dtype in TABLES[table].items()
    }
    return pl.DataFrame(list(rows), schema=types)


def publish(data: Path, rows: Sequence[dict[str, Any]], **others: Sequence[dict[str, Any]]) -> Path:
    """Publish transitions, and rows of other tables by their names, as the one window of a dataset; return DATA."""
    files = {}
    for table, own in {"transitions": rows, **others}.items():
        directory = dataset_directory(data, table)
        directory.mkdir(parents=True)
        frame(own, table).write_parquet(directory / "part-0.parquet")
        files[table] = ["part-0.parquet"]
    window = {"window": "0-1", "since_seq": 0, "until_seq": 1, "files": files}
    watermark = {"schema_version": SCHEMA_VERSION, "received_seq": 1, "windows": [window], "pending": []}
    watermark_path(data).write_text(json.dumps(watermark))
    return data


def bandit(model: Path, *, num_tasks: int, attempts: int, rewarded: int, temperature: float = 1.0, seed: int = 0,
           split: str = "train") -> list[dict[str, Any]]:  # fmt: skip
    """Let a model answer one token to random prompts; the outcome is 1 when its id is below `rewarded`."""
    import torch
    from transformers import AutoModelForCausalLM

    policy = AutoModelForCausalLM.from_pretrained(model, local_files_only=True)
    randomness = torch.Generator().manual_seed(seed)
    prompts = torch.randint(0, 64, (num_tasks, 6), generator=randomness)
    with torch.no_grad():
        logits = policy(input_ids=prompts).logits[:, -1].float() / temperature
    distribution = logits.log_softmax(-1)
    answers = torch.multinomial(distribution.exp(), attempts, replacement=True, generator=randomness)
    return [
        transition(
            episode_id=f"{split}-{task}-{attempt}",
            span_id=f"{split}-{task}-{attempt}",
            task_id=f"{split}-{task}",
            split=split,
            prompt_token_ids=prompts[task].tolist(),
            response_token_ids=[int(answers[task, attempt])],
            behavior_logprobs=[distribution[task, answers[task, attempt]].item()],
            temperature=temperature,
            outcome=float(answers[task, attempt] < rewarded),
        )
        for task in range(num_tasks)
        for attempt in range(attempts)
    ]
