"""How far recorded log-probabilities are from the trainer's own computation, engine and precision by choice.

    python -m benchmarks.serving.logprobs examples/calculator/policy --engine vllm --dtype bfloat16

Calls at several temperatures through a real gateway; the spans it exports are scored again by Transformers in float32,
at the recorded temperature. A change of weights to a checkpoint half a layer's spread away is made in between, so that
half of the calls were sampled after a change in place.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from otel_exporter import schema as names
from tests.served import Served, serving
from tests.serving import altered_checkpoint, collector, fresh_logprobs, with_manifest
from train.schema import Probe, model_version


def ask(served: Served, number: int) -> str:
    """Ask once; return the response id."""
    messages = [{"role": "user", "content": f"There are {number} birds. {number // 3} fly away. How many are left?"}]
    answer, _ = served.ask(messages=messages, temperature=0.5 + number % 4 / 4, max_tokens=24)
    return str(answer["id"])


@torch.inference_mode()
def differences(model: Path, spans: list[dict[str, Any]]) -> list[float]:
    """Return the distance of every recorded log-probability from this model's own."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    found = []
    for span in spans:
        prompt, response = span[names.PROMPT_TOKEN_IDS], span[names.CHOICE_TOKEN_IDS.format(index=0)]
        logits = net(torch.tensor([prompt + response])).logits[0] / span["gen_ai.request.temperature"]
        own = logits.log_softmax(-1)[range(len(prompt) - 1, len(prompt) + len(response) - 1), response]
        recorded = torch.tensor(span[names.CHOICE_LOGPROBS.format(index=0)])
        found += (own - recorded).abs().tolist()
    return found


@torch.inference_mode()
def probes(model: Path) -> list[Probe]:
    """Return probes as training makes them: of what a model samples, whose log-probabilities round less than others."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    torch.manual_seed(1)
    found = []
    for start in range(4):
        prompt = list(range(20 + 8 * start, 60 + 8 * start))
        ids = net.generate(torch.tensor([prompt]), do_sample=True, max_new_tokens=24, top_k=0)[0].tolist()
        logprobs = fresh_logprobs(model, prompt, ids[len(prompt) :])
        found.append(Probe(prompt_token_ids=prompt, response_token_ids=ids[len(prompt) :], logprobs=logprobs))
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--engine", choices=("vllm", "embedded"), default="vllm")
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--dtype", help="precision vLLM computes in; default: its own choice")
    arguments = parser.parse_args()
    disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, collector() as received:
        root = Path(name)
        night = with_manifest(
            altered_checkpoint(arguments.model, root / "night", seed=9), probes=probes(root / "night")
        )
        own = ["--model", str(arguments.model), "--engine", arguments.engine, "--name", "base"]
        if arguments.dtype is not None:
            own += ["--", "--dtype", arguments.dtype]
        with (
            serving(root / "data", *own, collector=received, timeout_s=500) as served,
            ThreadPoolExecutor(8) as pool,
        ):
            ids = list(pool.map(lambda number: ask(served, number), range(arguments.calls // 2)))
            promote = [sys.executable, "-m", "spanloop", "serve", "promote", "--data", str(served.data), str(night)]
            promoted = subprocess.run([*promote, "--json"], capture_output=True, check=False)
            if promoted.returncode != 0:
                raise SystemExit(promoted.stderr.decode())
            ids += pool.map(lambda number: ask(served, number), range(arguments.calls // 2))
            spans = [served.span_of(response_id) for response_id in ids]
        models = {model_version(path): path for path in (arguments.model, night)}
        found = []
        for version, path in models.items():
            found += differences(path, [span for span in spans if span[names.POLICY_VERSION] == version])
    report = {
        "calls": len(spans),
        "tokens": len(found),
        "mean": statistics.fmean(found),
        "p99": statistics.quantiles(found, n=100)[-1],
        "max": max(found),
        "probe_mean_difference": json.loads(promoted.stdout)["probe_mean_difference"],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
