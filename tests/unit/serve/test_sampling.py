import json
from pathlib import Path

import pytest

from serve.sampling import NEUTRAL, UnsupportedParameter, parse_sampling, sampling_defaults, with_defaults


def test_defaults_are_the_models_own(tmp_path: Path) -> None:
    """generation_config.json decides, as in vLLM; what it leaves out changes nothing."""
    (tmp_path / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "top_k": 20, "eos_token_id": 1}))

    defaults = sampling_defaults(tmp_path)

    assert defaults == {"temperature": 0.6, "top_p": 1.0, "top_k": 20, "min_p": 0.0}


def test_defaults_of_a_model_without_any_change_nothing(tmp_path: Path) -> None:
    """No file, no opinion."""
    assert sampling_defaults(tmp_path) == NEUTRAL


def test_a_parameter_of_zero_is_named() -> None:
    """Temperature 0 is a wish, not an absence."""
    assert with_defaults({"temperature": 0}, NEUTRAL)["temperature"] == 0


@pytest.mark.parametrize(
    "request_",
    [
        {"temperature": -1},
        {"temperature": "hot"},
        {"top_p": 0},
        {"max_tokens": 0},
        {"logprobs": 21},
        {"stop": [""]},
    ],
)
def test_what_cannot_be_honoured_is_refused(request_: dict[str, object]) -> None:
    """Ignoring a parameter would answer a question nobody asked."""
    with pytest.raises(UnsupportedParameter):
        parse_sampling(request_, default_max_tokens=10)


def test_max_completion_tokens_wins_and_is_bounded_by_the_context() -> None:
    """The newer name first; more than fits becomes what fits."""
    assert parse_sampling({"max_completion_tokens": 3, "max_tokens": 9}, default_max_tokens=10).max_tokens == 3
    assert parse_sampling({"max_tokens": 99}, default_max_tokens=10).max_tokens == 10
    assert parse_sampling({}, default_max_tokens=10).max_tokens == 10
