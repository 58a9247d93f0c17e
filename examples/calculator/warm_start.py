"""Makes the demo's policy: tokenizer, chat template and a small decoder, taught until it succeeds sometimes.

It learns from made-up episodes of the train split and stops when a third of its own attempts succeed at temperature 1:
far enough to earn rewards, far from good. Everything on one core, in a few minutes:

    OMP_NUM_THREADS=1 python examples/calculator/warm_start.py
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from episode import TOOLS, Message, assistant_message, call_text, first_messages, play, tool_message
from problems import Problem, generate
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

HERE = Path(__file__).parent

CHAT_TEMPLATE = """\
{%- macro signatures() %}
{%- for tool in tools %}
{{- '\\n' + tool.function.name + '(' + tool.function.parameters.properties.keys() | join(', ') + ')' }}
{%- endfor %}
{%- endmacro %}
{%- if tools and messages[0].role != 'system' %}
{{- '<|im_start|>system' + signatures() + '<|im_end|>' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content %}{{ message.content }}{% endif %}
{%- if tools and loop.first and message.role == 'system' %}{{ signatures() }}{% endif %}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>{"name": ' + call.function.name | tojson + ', "arguments": ' }}
{{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
{{- '}</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""Renders tools as bare signatures, so that a prompt stays near 40 tokens, and calls in the form `json.dumps` gives.

Each message is rendered alone and closed by the token that ends a sampled answer: what is rendered for turn k+1 begins
with the prompt and the sampled tokens of turn k.
"""

TURN_START, TURN_END, PADDING = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

PIECES = Regex(r"[^\s\p{N}]+\s?|\p{N}{1,2}|\s")
"""A word takes the space after it along, a number of two digits is one token wherever it stands: so copying is easy."""

VOCABULARY = 640
LEARNING_RATE = 3e-3
WARM_UP = 30
"""Updates until the learning rate is reached."""

BATCH = 48
MAX_NEW_TOKENS = 48
IGNORED = -100


def build_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on rendered episodes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(PIECES, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PADDING, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(["<tool_call>", "</tool_call>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=PADDING,
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Return an untrained decoder of about a million weights.

    The type is qwen3 because AutoTokenizer replaces the pre-tokenizer of a qwen2 checkpoint by its own. Embeddings are
    not tied: nothing here needs it, and an engine that reloads weights in place has one thing less to get wrong.
    """
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=1024,
            tie_word_embeddings=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            dtype="float32",
        )
    )


def good_episode(problem: Problem) -> list[Message]:
    """Return the messages of an episode that succeeds."""
    call = assistant_message(call_text(problem.expression))
    answer = {"role": "assistant", "content": f"The answer is {problem.answer}."}
    return [*first_messages(problem), call, tool_message(call["tool_calls"][0]), answer]


def render(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], *, generation: bool = False) -> str:
    """Return the conversation as the model sees it."""
    text: str = tokenizer.apply_chat_template(
        list(messages), tools=TOOLS, tokenize=False, add_generation_prompt=generation
    )
    return text


def encode(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """Return the ids of an episode and its labels: the assistant's own tokens, IGNORED elsewhere."""
    ids: list[int] = []
    labels: list[int] = []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = tokenizer.encode(render(tokenizer, messages[:turn], generation=True))
        whole = tokenizer.encode(render(tokenizer, messages[: turn + 1]))
        labels += [IGNORED] * (len(prompt) - len(ids)) + whole[len(prompt) :]
        ids = whole
    return ids, labels


def batches(
    tokenizer: PreTrainedTokenizerFast, problems: Sequence[Problem], rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ids and labels (row, token) of randomly drawn episodes, for ever; padding is on the right."""
    encoded = [encode(tokenizer, good_episode(problem)) for problem in problems]
    while True:
        rows = rng.sample(encoded, BATCH)
        width = max(len(ids) for ids, _ in rows)
        yield (
            torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in rows]),
            torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in rows]),
        )


@torch.no_grad()
def measure(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: Sequence[Problem], *, temperature: float
) -> float:
    """Return the share of the problems solved in one attempt each; temperature 0 takes the likeliest token."""
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}

    def complete(conversations: Sequence[Sequence[Message]]) -> list[str]:
        prompts = [render(tokenizer, messages, generation=True) for messages in conversations]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            generation_config=GenerationConfig(
                max_new_tokens=MAX_NEW_TOKENS,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **sampling,
            ),
        )
        sampled = output[:, inputs["input_ids"].shape[1] :]  # (row, new token)
        answers: list[str] = tokenizer.batch_decode(sampled, skip_special_tokens=True)
        return answers

    model.eval()
    rewards = play(problems, complete)
    model.train()
    return sum(rewards) / len(rewards)


def warm_start(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, *, low: float, high: float, max_updates: int, seed: int
) -> int:
    """Teach the model until its success at temperature 1 lies in [low, high]; return the number of updates.

    Success stays near nothing for a hundred updates and then climbs steeply, so it is looked at every 15 updates, every
    3 once it has begun to climb, and after each one near the window. Raises RuntimeError when the window is missed.
    """
    training = batches(tokenizer, generate(6000, split="train", seed=seed), random.Random(seed))
    judged = generate(256, split="train", seed=seed + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: min(1.0, (update + 1) / WARM_UP))
    every = 15
    for update in range(1, max_updates + 1):
        ids, labels = next(training)
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]  # (row, token, hidden)
        trained = labels[:, 1:] != IGNORED
        loss = functional.cross_entropy(model.lm_head(hidden[trained]), labels[:, 1:][trained])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if update % every:
            continue
        success = measure(model, tokenizer, judged, temperature=1.0)
        narrate(f"update {update}: loss {loss.item():.3f}, success {success:.3f}, {time.process_time():.0f} CPU-s")
        if low <= success <= high:
            return update
        if success > high:
            raise RuntimeError(f"success jumped to {success:.3f}, past {high}: look more often, or take another seed")
        every = 15 if success < low / 6 else 3 if success < low / 2 else 1
    raise RuntimeError(f"success stayed below {low} for {max_updates} updates")


def narrate(line: str) -> None:
    """Say how it goes, on stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> None:
    """Make the policy and save it: weights in bfloat16, a third of the size, to be loaded as float32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "policy", help="directory of the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--low", type=float, default=0.36, help="least success to stop at")
    parser.add_argument("--high", type=float, default=0.45, help="most success to stop at")
    parser.add_argument("--max-updates", type=int, default=900)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    examples = [good_episode(problem) for problem in generate(4000, split="train", seed=arguments.seed)]
    numbers = [" ".join(str(number) for number in range(100))] * 20
    blank = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=CHAT_TEMPLATE)
    tokenizer = build_tokenizer([*(render(blank, messages) for messages in examples), *numbers])
    model = build_model(tokenizer)
    prompt = tokenizer.encode(render(tokenizer, examples[0][:2], generation=True))
    narrate(f"{model.num_parameters():,} weights, {len(tokenizer)} tokens, a first prompt of {len(prompt)}")

    updates = warm_start(
        model,
        tokenizer,
        low=arguments.low,
        high=arguments.high,
        max_updates=arguments.max_updates,
        seed=arguments.seed,
    )
    save(model, tokenizer, arguments.out)
    saved = Qwen3ForCausalLM.from_pretrained(arguments.out, dtype=torch.float32)
    heldout = generate(512, split="heldout", seed=arguments.seed)
    sampled = measure(saved, tokenizer, heldout, temperature=1.0)
    greedy = measure(saved, tokenizer, heldout, temperature=0.0)
    narrate(f"{updates} updates; 512 held-out problems: {sampled:.3f} at temperature 1, {greedy:.3f} greedy")


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write the checkpoint. Its generation settings hold no sampling defaults: those are the caller's business."""
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.to(torch.bfloat16).save_pretrained(directory)
    model.config.dtype = torch.float32
    model.config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


if __name__ == "__main__":
    main()
