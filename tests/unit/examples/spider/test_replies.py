"""What the agents answer is read as the published task reads it."""

import pytest

from examples.spider.replies import query_of, rewritten, says_correct


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("SELECT 1", "SELECT 1"),
        ("```sql\nSELECT 1\n```", "SELECT 1"),
        ("```\nSELECT 1\n``` or ```sql\nSELECT 2\n```.", "SELECT 2"),
        ("``` SELECT 1 ```", "SELECT 1"),
        ("```sql\nSELECT 1", "SELECT 1"),
        ("```sql\n```", "```sql\n```"),
        ("", ""),
    ],
)
def test_the_last_fenced_block_is_the_query(text: str, query: str) -> None:
    """Without one the whole text is."""
    assert query_of(text, otherwise=text) == query


@pytest.mark.parametrize(
    ("text", "is_correct"),
    [
        ("THE QUERY IS CORRECT.", True),
        ("the query is correct", True),
        ("THE QUERY IS INCORRECT", False),
        ("THE QUERY IS CORRECT. No: THE QUERY IS INCORRECT.", False),
        ("It is not so that THE QUERY IS INCORRECT. THE QUERY IS CORRECT", True),
        ("Fine.", False),
        ("", False),
    ],
)
def test_the_last_verdict_decides(text: str, is_correct: bool) -> None:
    """Without one the query is written anew."""
    assert says_correct(text) is is_correct


def test_a_rewriter_that_writes_no_query_keeps_the_old_one() -> None:
    """However it says so."""
    assert rewritten("I would not change it.", otherwise="SELECT 1") == "SELECT 1"
    assert rewritten("```sql\nSELECT 2\n```", otherwise="SELECT 1") == "SELECT 2"
    assert rewritten("  with x as (select 1) select * from x", otherwise="SELECT 1").startswith("with")
