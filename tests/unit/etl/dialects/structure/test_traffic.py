"""A name that may be of a model's traffic is not passed over because no reader knows it."""

import pytest

from etl.dialects.structure.traffic import has_strange, may_tell


@pytest.mark.parametrize("name", ["gen_ai.usage.input_tokens", "llm.model_name", "http.method", "db.system"])
def test_what_readers_have_read_or_nobody_needs_is_not_strange(name: str) -> None:
    """Names of the conventions, and of what is no model's."""
    assert not has_strange((name,))


@pytest.mark.parametrize("name", ["gen_ai.response.text", "acme.completion", "x.prompt_tokens", "app.tool"])
def test_a_name_of_traffic_that_nobody_knows_is_strange(name: str) -> None:
    """Among names that everybody knows, too."""
    assert may_tell(name)
    assert has_strange(("gen_ai.system", name))


def test_a_name_that_says_nothing_of_models_is_not() -> None:
    """Whoever wrote it."""
    assert not may_tell("acme.region")
    assert not has_strange(("acme.region",))
