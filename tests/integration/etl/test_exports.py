"""Exports are loaded by the libraries they are written for."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from tokenizers import Tokenizer, models, pre_tokenizers

from etl.exports.export import Format, export
from etl.runs.run import run_etl
from etl.settings import EtlConfig
from foundation.report import RunReport
from receiver.intake.importing import import_files

pytestmark = pytest.mark.integration

datasets = pytest.importorskip("datasets", reason="needs the dev extra")

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp"
NAMES = (
    "openinference-openai-agents/handoff",
    "openinference-langchain/parallel_tools",
    "traceloop-openai/multi_turn",
    "agentlightning-agentops/token_ids",
    "litellm/tool_call",
)
ANSWERED = """
select trace_id, 'outcome' as name, (count(*) > 6)::double as value from spans group by all
"""
"""Some outcome that is not the same for all."""

TEMPLATE = """{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}<|{{ message.role }}|>\
{{ message.content or '' }}{% for call in message.tool_calls or [] %}{{ call.function.name }}\
{{ call.function.arguments }}{% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""
"""A chat template in the manner of most: content may be null, tool calls are listed after it."""

STRICT_TEMPLATE = """{% for message in messages %}<|{{ message.role }}|>{% if 'tool_calls' in message %}\
{{ message.tool_calls | length }}{% else %}{{ message.content }}{% endif %}<|end|>{% endfor %}"""
"""In the manner of Llama's: a message that has the field has tool calls."""


def word_tokenizer(template: str) -> Any:
    """Return a tokenizer that knows no word, with a chat template."""
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a published dataset of conversations with tools, hand-offs and rewards."""
    directory = tmp_path_factory.mktemp("exports")
    import_files(directory, [path for name in NAMES for path in sorted(FIXTURES.glob(f"{name}*.pb"))])
    (directory / "answered.sql").write_text(ANSWERED)
    config = EtlConfig(data=directory, complete_after=0, reward_sql=directory)
    run_etl(config, RunReport("etl run", {}), dry_run=False)
    return directory


def load(data: Path, form: Format, tmp_path: Path) -> Any:
    """Export transitions and load the file as its users do."""
    kind = "parquet" if form == "verl" else "json"
    path = tmp_path / f"transitions.{kind}"
    written = export(data, "transitions", form, path)
    loaded = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == written > 10
    return loaded


def test_trl_renders_every_transition(data: Path, tmp_path: Path) -> None:
    """TRL takes the rows for conversations, and its own function renders them with tools."""
    from trl.data_utils import apply_chat_template, is_conversational

    tokenizer = word_tokenizer(TEMPLATE)

    rows = load(data, "trl", tmp_path)

    with_tools = 0
    for row in rows:
        assert is_conversational(row)
        assert {type(row["label"]), type(row["reward"])} <= {bool, float, type(None)}
        rendered = apply_chat_template({key: row[key] for key in ("prompt", "completion")}, tokenizer, row["tools"])
        assert rendered["prompt"].endswith("<|assistant|>")
        answer = row["completion"][0]
        assert (answer["content"] or answer["tool_calls"][0]["function"]["arguments"]) in rendered["completion"]
        with_tools += bool(row["tools"]) and row["tools"][0]["function"]["name"] in rendered["prompt"]
    assert with_tools > 5
    assert {row["label"] for row in rows} == {False, True}


def test_verl_reads_one_typed_file(data: Path, tmp_path: Path) -> None:
    """The columns that verl's dataset looks for, each of one type; messages and tools as they are."""
    rows = load(data, "verl", tmp_path)

    assert rows.column_names == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert rows.features["reward_model"] == {
        "style": datasets.Value("string"),
        "ground_truth": datasets.Value("float64"),
    }
    assert rows.features["extra_info"]["index"] == datasets.Value("string")
    prompts = rows["prompt"]
    assert {tuple(message) for prompt in prompts for message in prompt if message["role"] == "user"} == {
        ("role", "content")
    }
    calls = [call for prompt in prompts for message in prompt for call in message.get("tool_calls", ())]
    assert all(call["function"]["name"] for call in calls)
    assert len(calls) > 5
    assert any(tool["function"]["parameters"] for row in rows for tool in row["extra_info"]["tools"])
    assert len({row["extra_info"]["index"] for row in rows}) == rows.num_rows


@pytest.mark.parametrize("template", [TEMPLATE, STRICT_TEMPLATE], ids=["tolerant", "strict"])
def test_verls_own_dataset_takes_every_prompt(data: Path, tmp_path: Path, template: str) -> None:
    """A prompt that a chat template fails on would be left out by verl; none is."""
    loader = pytest.importorskip("verl.utils.dataset.rl_dataset", reason="verl is not installed: make test-verl")
    from omegaconf import OmegaConf

    path = tmp_path / "train.parquet"
    written = export(data, "transitions", "verl", path)
    options = {"cache_dir": str(tmp_path), "max_prompt_length": 4096, "filter_overlong_prompts_workers": None}

    prompts = loader.RLHFDataset(str(path), word_tokenizer(template), OmegaConf.create(options))

    assert len(prompts) == written > 10
    batch = loader.collate_fn([prompts[number] for number in range(written)])
    assert len(set(batch["index"])) == written
    assert {outcome["ground_truth"] for outcome in batch["reward_model"]} == {0.0, 1.0}
    assert all(isinstance(message, dict) for prompt in batch["raw_prompt"] for message in prompt)


def test_datasets_infers_one_type_a_column(data: Path, tmp_path: Path) -> None:
    """Nothing becomes a bag of JSON: messages are structs, ids lists of integers."""
    rows = load(data, "datasets", tmp_path)

    fields = {"role", "content", "parts", "reasoning_content", "tool_calls", "tool_call_id"}
    assert set(rows.features["messages"].feature) == fields
    assert rows.features["prompt_token_ids"] == datasets.List(datasets.Value("int64"))
    assert rows.features["step"] == datasets.Value("int64")
    assert {row["episode_id"] for row in rows} != {None}


def test_openai_takes_every_line(data: Path, tmp_path: Path) -> None:
    """By its client's own types, and by the rules of its guide."""
    from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam

    messages = TypeAdapter(list[ChatCompletionMessageParam])
    tools = TypeAdapter(list[ChatCompletionFunctionToolParam])

    rows = load(data, "openai", tmp_path)

    for row in rows:
        messages.validate_python(row["messages"])
        tools.validate_python(row["tools"] or [])
        assert row["messages"][-1]["role"] == "assistant"
