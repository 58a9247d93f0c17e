"""Questions are read as they are, or restricted by what a small model can begin with."""

import json
from pathlib import Path

import pytest

from examples.calcx import questions as calcx
from examples.musique import questions as musique
from examples.spider import questions as spider

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tasks"


def test_the_restriction_of_spider_is_one_select_on_one_table_whose_columns_are_shown() -> None:
    """The full task shows the whole schema, cut to its length; nothing whose gold result is empty is asked."""
    whole = spider.load(FIXTURES, "dev")
    one_table = spider.load(FIXTURES, "dev", spider.Restriction(one_table=True))

    assert 0 < len(one_table) < len(whole)
    assert {len(question.schema.splitlines()) for question in one_table} == {1}
    assert {len(question.schema.splitlines()) for question in whole} == {2}
    assert not any("join" in question.gold.lower() for question in one_table)
    cut = spider.load(FIXTURES, "dev", spider.Restriction(schema_chars=20))
    assert {len(question.schema) for question in cut} == {20}


def test_two_wordings_of_a_query_are_one_cluster() -> None:
    """Which is what an interval is over."""
    questions = spider.load(FIXTURES, "dev")

    assert len({question.cluster for question in questions}) < len({question.text for question in questions})


def test_no_query_of_a_search_still_names_a_step() -> None:
    """`#1` stands for the answer of the first, whatever the number of digits; hops are chosen by number."""
    questions = musique.load(FIXTURES, "train")

    assert questions
    assert not any("#" in query for question in questions for query in question.queries)
    assert {question.hops for question in musique.load(FIXTURES, "dev", hops=4)} == {4}
    with pytest.raises(FileNotFoundError, match="no split"):
        musique.load(FIXTURES, "test")


def test_what_nobody_wrote_searches_for_is_not_taught(tmp_path: Path) -> None:
    """A teacher that has no query for a question would answer it at once, and so teach not to search."""
    written = json.loads((FIXTURES / "musique" / "train.jsonl").read_text().splitlines()[0])
    unwritten = written | {"id": "unwritten", "decomposition": []}
    folder = tmp_path / "musique"
    folder.mkdir()
    (folder / "train.jsonl").write_text(f"{json.dumps(written)}\n{json.dumps(unwritten)}\n")
    (folder / "aux_train.jsonl").touch()

    assert [one.id for one in musique.load(tmp_path, "train")] == [written["id"], "unwritten"]
    assert [one.id for one in musique.load(tmp_path, "train", decomposed=True)] == [written["id"]]


def test_every_support_is_in_the_corpus_and_is_shown_on_one_line() -> None:
    """So that what was found is known by what was shown."""
    corpus = {paragraph.id: paragraph for paragraph in musique.read_corpus(FIXTURES)}
    supports = [one for split in ("train", "dev") for each in musique.load(FIXTURES, split) for one in each.supports]

    assert supports
    assert all(len(musique.shown(corpus[one], 120).splitlines()) == 1 for one in supports)


def test_problems_are_chosen_by_source_and_by_steps() -> None:
    """SVAMP's have one step each."""
    svamp = calcx.load(FIXTURES, "dev", dataset="svamp")

    assert {len(problem.steps) for problem in svamp} == {1}
    assert all(len(problem.steps) <= 2 for problem in calcx.load(FIXTURES, "dev", max_steps=2))
    assert len(svamp) < len(calcx.load(FIXTURES, "dev"))
