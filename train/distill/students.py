"""Candidate students on disk, ranked before any is taught: whether they can write the calls, how large, how near."""

import gc
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors import SafetensorError, safe_open

from foundation.errors import SettingsError, SpanloopError
from foundation.models import downloaded_models, find_model, model_name
from foundation.narration import get_logger
from train.data.lineage import build_sequences
from train.data.logged import Logged
from train.distill.preparing import LEAST_RENDERED, has_tools, held_out, render
from train.engine.pack import collate
from train.engine.policy import SampledTokens, load_policy
from train.schema import base_of

log = get_logger("distill")

SAMPLE = 64
"""Calls a candidate is tried on: enough to tell templates and sizes apart."""

LARGEST_SCORED = 4_000_000_000
"""Weights from which a candidate is not opened only to be ranked."""


class NoStudent(SettingsError):
    """There is no model to rank."""


@dataclass(frozen=True)
class Candidate:
    """What is known of a student before it is taught."""

    model: str
    name: str
    num_weights: int
    rendered: float
    """Share of the sample its template writes so that it reads back."""

    rendered_tools: float | None
    """The same of the calls with tools; null where there is none."""

    nats_per_byte: float | None
    """Held-out loss before teaching, by bytes of the answers: tokens of two tokenizers cannot be compared. Null where
    it could not be measured."""

    trouble: str | None = None

    @property
    def is_able(self) -> bool:
        """Tell whether its template writes what there is to learn."""
        shares = [self.rendered, *([] if self.rendered_tools is None else [self.rendered_tools])]
        return self.trouble is None and all(share >= LEAST_RENDERED for share in shares)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self) | {"is_able": self.is_able}


def find_students(named: tuple[Path, ...], model: Path | None) -> list[Path]:
    """Return the candidates that were named, else the model, else every model in the Hugging Face cache."""
    found = [find_model(path) for path in named] or ([model] if model is not None else downloaded_models())
    if not found:
        raise NoStudent(
            "there is no student: no model is named, and none is in the Hugging Face cache",
            hint="Name one with --model DIR, or download one: hf download ORG/NAME",
        )
    return found


def rank(students: list[Path], rows: pl.DataFrame) -> list[Candidate]:
    """Return the candidates, those that can write the calls first, and of these the nearest to the teacher first."""
    sample = _sample(rows)
    found = []
    for student in students:
        with torch.no_grad():
            found.append(_try(student, sample))
        log.info("candidate", **{name: value for name, value in found[-1].as_dict().items() if name != "model"})
    unknown = float("inf")
    return sorted(found, key=lambda each: (not each.is_able, each.nats_per_byte or unknown, each.num_weights))


def count_weights(model: Path) -> int:
    """Return the number of weights of a model directory, by the shapes in its files."""
    total = 0
    for path in sorted((base_of(model) or model).glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                total += sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise SettingsError(
                f"the weights in {path} cannot be read: {error}", hint="Copy or download the model once more."
            ) from error
    return total


def _sample(rows: pl.DataFrame) -> pl.DataFrame:
    """Return some calls, held-out ones where there are enough, spread evenly."""
    heldout = held_out(rows)
    examined = rows.filter(pl.Series([heldout[span] for span in rows["span_id"]], dtype=pl.Boolean))
    chosen = examined if examined.height >= SAMPLE // 4 else rows
    return chosen.gather_every(max(1, chosen.height // SAMPLE)).head(SAMPLE)


def _try(student: Path, sample: pl.DataFrame) -> Candidate:
    name = model_name(student)
    try:
        num_weights = count_weights(student)
        logged = render(sample, student)
    except SpanloopError as error:
        return Candidate(str(student), name, 0, 0.0, None, None, trouble=error.message.splitlines()[0])
    written = {call.span_id: call.set_aside is None for call in logged.calls}
    calling = [written[span] for span, action in sample.select("span_id", "action").iter_rows() if has_tools(action)]
    rendered = sum(written.values()) / max(1, len(written))
    loss = None
    if rendered and 0 < num_weights <= LARGEST_SCORED:
        loss = _nats_per_byte(student, logged, sample)
    return Candidate(str(student), name, num_weights, rendered, sum(calling) / len(calling) if calling else None, loss)


def _nats_per_byte(student: Path, logged: Logged, sample: pl.DataFrame) -> float:
    said = dict(sample.select("span_id", "action").iter_rows())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens = SampledTokens(load_policy(student).to(device))
    nats, num_bytes = 0.0, 0
    for sequence in build_sequences(logged.calls):
        batch = collate([sequence], np.ones(len(logged.calls)), np.zeros(len(logged.calls)), device=device)
        nats -= float(tokens(*batch.inputs)[0].double().sum())
        for call in sequence.calls:
            action = json.loads(said[logged.calls[int(call)].span_id])
            calls = [[each["name"], each.get("arguments")] for each in action.get("tool_calls") or ()]
            num_bytes += len((action.get("text") or "").encode()) + (len(json.dumps(calls)) if calls else 0)
    del tokens
    gc.collect()
    return nats / max(1, num_bytes)
