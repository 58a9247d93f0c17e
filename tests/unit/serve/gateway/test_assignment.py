from hypothesis import given
from hypothesis import strategies as st

from serve.admission import Admission
from serve.gateway.assignment import Split, find_unit

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
MESSAGES = [{"role": "user", "content": "hello"}]


def test_the_unit_is_the_widest_thing_the_call_names() -> None:
    """User by header, by either field of OpenAI's; then episode, trace, the conversation's beginning."""
    headers = {"x-spanloop-user": "u", "traceparent": TRACEPARENT}
    request = {"user": "v", "safety_identifier": "w", "messages": MESSAGES}

    assert find_unit(headers, request, "e") == b"user:u"
    assert find_unit({}, request, "e") == b"user:w"
    assert find_unit({}, {"user": "v"}, "e") == b"user:v"
    assert find_unit({"traceparent": TRACEPARENT}, {}, "e") == b"episode:e"
    assert find_unit({"traceparent": TRACEPARENT}, {}, None) == b"trace:" + TRACE.encode()
    later = {"messages": [*MESSAGES, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "more"}]}
    assert find_unit({}, {"messages": MESSAGES}, None) == find_unit({}, later, None)
    assert find_unit({"traceparent": "nonsense"}, {"messages": MESSAGES}, None).startswith(b"conversation:")


@given(st.binary(min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_who_has_the_canary_keeps_it_when_its_share_grows(unit: bytes, one: float, other: float) -> None:
    """And who is asked twice gets the same answer."""
    small, large = (Split(Admission(), share, "salt") for share in sorted((one, other)))

    assert small.arm(unit) == small.arm(unit)
    assert not (small.arm(unit) == "canary" and large.arm(unit) == "live")
    assert Split(Admission(), 0.0, "salt").arm(unit) == "live"
    assert Split(Admission(), 1.0, "salt").arm(unit) == "canary"


def test_the_share_is_the_share() -> None:
    """Of 20,000 users 5 % within five standard deviations, and another canary gets others."""
    users = [f"user:{number}".encode() for number in range(20_000)]
    one, other = (Split(Admission(), 0.05, salt) for salt in ("first", "second"))
    chosen, others = ({user for user in users if split.arm(user) == "canary"} for split in (one, other))

    assert 846 <= len(chosen) <= 1154
    assert len(chosen & others) < 120


def test_a_unit_is_recorded_as_a_hash() -> None:
    """Sixteen hex digits that do not contain the user, and differ from canary to canary."""
    hashes = [Split(Admission(), 0.5, salt).hash(b"user:alice@example.com") for salt in ("a", "b")]

    assert all(len(each) == 16 and int(each, 16) >= 0 for each in hashes)
    assert hashes[0] != hashes[1]
