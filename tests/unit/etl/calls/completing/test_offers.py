"""Which tools a model was offered, where only their use was recorded."""

from typing import Any

from etl.calls.completing.offers import complete_offers
from tests.unit.etl.calls.made import ran, replied, said, seen

SCHEMA = {"type": "object"}


def tool(name: str, description: str | None = None, parameters: Any = None) -> dict[str, Any]:
    return {"name": name, "description": description, "parameters": parameters}


def uses(name: str, call_id: str = "c1") -> Any:
    return [replied(None, (call_id, name, {}))]


def test_what_a_role_used_it_was_offered() -> None:
    """In each of its calls, also before the use, with what the tool's span says of it; as facts, not as the whole."""
    first, second = seen(0, output=uses("look")), seen(1, output=uses("find", "c2"))

    complete_offers([first, second], [(ran(2, description="Looks.", parameters=SCHEMA), None)])

    assert first.tools == second.tools == [tool("look", "Looks.", SCHEMA), tool("find")]
    assert first.pieced == second.pieced == {"tools"}


def test_other_roles_are_offered_nothing_of_it() -> None:
    """Roles are told apart by agent and by instructions."""
    user = seen(0, output=uses("look"), agent="scout")
    others = [seen(1, agent="clerk"), seen(2, agent="scout", input=[said("system", "Sum up.")])]

    complete_offers([user, *others], [])

    assert [call.tools for call in others] == [None, None]


def test_a_call_in_the_history_that_another_role_asked_for_was_not_this_ones_to_use() -> None:
    """A history handed on holds another agent's calls; of those that nobody's answer has, the teller is the user."""
    asker = seen(0, output=uses("look"), agent="scout")
    heir = seen(1, agent="clerk", input=[said("assistant", None, ("c1", "look", {}), ("c9", "find", {}))])

    complete_offers([asker, heir], [])

    assert heir.tools == [tool("find")]


def test_a_writer_that_recorded_one_offer_had_none_to_record_elsewhere() -> None:
    """But for a call of which attributes were dropped, and for spans of other writers."""
    offered = seen(0, tools=[tool("look")], output=uses("look"))
    bare, cut, other = seen(1), seen(2, truncated=True), seen(3, scope="framework", output=uses("find", "c2"))

    complete_offers([offered, bare, cut, other], [])

    assert bare.tools is None
    assert [[entry["name"] for entry in call.tools or ()] for call in (cut, other)] == [["find"], ["find"]]
    assert offered.pieced == set()


def test_a_pieced_offer_is_described_and_keeps_what_it_says() -> None:
    """The first span that describes a tool does; under the name that models know it by."""
    call = seen(0, tools=[tool("look", "Own."), tool("find")], pieced={"tools"})
    spans = [ran(1), ran(2, "internal_find", asked_as="find", description="Finds."), ran(3, parameters=SCHEMA)]

    complete_offers([call], [(span, None) for span in spans])

    assert call.tools == [tool("look", "Own.", SCHEMA), tool("find", "Finds.")]


def test_nobody_uses_a_nameless_tool() -> None:
    """A request without a name offers nothing."""
    call = seen(0, output=[replied(None, ("c1", "", {}))])

    complete_offers([call], [])

    assert (call.tools, call.pieced) == (None, set())
