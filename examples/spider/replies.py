"""Reads what the text-to-SQL agents answer: a query, or a verdict."""

import re

FENCED = re.compile(r"```(?:\w*\n)?(.*?)(?:```|$)", re.DOTALL)
VERDICT = re.compile(r"THE QUERY IS (IN)?CORRECT", re.IGNORECASE)


def query_of(text: str, otherwise: str) -> str:
    r"""Return the last fenced block, or what stands for it.

    >>> query_of("So:\n```sql\nSELECT 1\n```", ""), query_of("SELECT 2", otherwise="SELECT 2")
    ('SELECT 1', 'SELECT 2')
    """
    blocks = [block.strip() for block in FENCED.findall(text) if block.strip()]
    return blocks[-1] if blocks else otherwise.strip()


def says_correct(text: str) -> bool:
    """Tell whether the last verdict of a checker is that the query is correct; without a verdict it is not.

    >>> says_correct("THE QUERY IS INCORRECT. No: the query is correct"), says_correct("It is fine.")
    (True, False)
    """
    verdicts = VERDICT.findall(text)
    return bool(verdicts) and not verdicts[-1]


def rewritten(text: str, otherwise: str) -> str:
    """Return the query of a rewriter: a fenced block, or a text that is one; else the old one stays.

    >>> rewritten("select 1", otherwise="old"), rewritten("I cannot.", otherwise="old")
    ('select 1', 'old')
    """
    is_query = text.lstrip().lower().startswith(("select", "with"))
    return query_of(text, otherwise=text if is_query else otherwise)
