"""What `etl stats` prints fits a terminal, and is whole in a pipe."""

import pytest

from etl.exports.stats import FIELDS, coverage, show
from tests.recordings import load, run


def found() -> dict[str, list[dict[str, object]]]:
    """Return statistics of two producers, one with a long name."""
    calls = [
        run(*load(producer, "tool_call")[:2]).tables["llm_calls"] for producer in ("mlflow", "openinference-autogen")
    ]
    rows = [entry for table in calls for entry in coverage(table)]
    return {"coverage": rows, "signals": [], "rewards": [], "evidence": [], "splits": [], "rejected": []}


def test_the_matrix_fits_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """With a column for every field, under its short name, and a legend."""
    show(found(), width=80)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["producer", "calls", *FIELDS.values()]
    assert [len(line.split()[-len(FIELDS) - 1 :]) for line in lines[2:4]] == [15, 15]
    assert all(name in " ".join(lines) for name, short in FIELDS.items() if name != short)


def test_nothing_is_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Names are whole, and a row is a line."""
    show(found())

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["producer", "calls", *FIELDS]
    assert "…" not in "".join(lines)
    assert all(not line or len(line.split()) > 5 for line in lines)


def test_an_empty_dataset_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than nothing at all."""
    show({"coverage": [], "signals": [], "rewards": [], "evidence": [], "splits": [], "rejected": []})

    assert "Nothing is published yet" in capsys.readouterr().out


def test_a_name_with_brackets_is_shown_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    """Rewards are named by whoever gives them: brackets are no markup of ours."""
    named = [{"name": "tone[/b]", "rewards": 1}, {"name": "[red]", "rewards": 2}]

    show({"coverage": [], "signals": [], "rewards": named, "evidence": [], "splits": [], "rejected": []})

    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:4]] == [["tone[/b]", "1"], ["[red]", "2"]]
