"""Of what is published only that is read which decides into which groups new tasks come."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from etl.published import known_tasks as module
from etl.published.known_tasks import known_tasks
from etl.schema import TABLES
from etl.tables import polars_schema
from foundation import near_duplicates
from foundation.near_duplicates import Signatures, near_groups, signature

WORDS = ("order", "ship", "late", "return", "refund", "invoice", "card", "color", "size", "box", "address", "street")


def texts_of(random: Random, number: int) -> list[str]:
    """Return texts many of which are nearly alike, or alike."""
    bases = [[f"{random.choice(WORDS)}{random.randrange(9)}" for _ in range(30)] for _ in range(4)]
    texts = []
    for _ in range(number):
        words = list(random.choice(bases))
        words[random.randrange(30)] = random.choice(WORDS)
        texts.append(" ".join(words))
    return [*texts, *random.choices(texts, k=number // 3)]


def write_parts(directory: Path, signatures: Signatures, groups: Sequence[str], size: int) -> list[Path]:
    """Publish tasks that came in this order, so many a part, in parts the last of which came first."""
    files = []
    schema = polars_schema(TABLES["episodes"])
    own = ["revision", "start_ns", "split_group", "split_signature"]
    for begin in range(0, len(signatures), size):
        some = range(begin, min(begin + size, len(signatures)))
        rows = [[number, 0, groups[number], signatures[number].tolist()] for number in some]
        path = directory / f"{len(signatures) - begin:06d}.parquet"
        frame = pl.DataFrame(rows, schema={name: schema[name] for name in own}, orient="row")
        pl.concat([pl.DataFrame(schema=schema), frame], how="diagonal").write_parquet(path)
        files.append(path)
    return files[::-1]


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 30), st.sampled_from([2, 5, 32]))
def test_what_is_left_out_changes_no_group(seed: int, num_known: int, num_new: int, many: int) -> None:
    """The groups are those that come of all published tasks at once, however few are read and kept at a time."""
    random = Random(seed)
    rows = np.array([signature(text) for text in texts_of(random, num_known + num_new)])
    known, new = rows[:num_known], rows[num_known:]
    with (
        TemporaryDirectory() as directory,
        patch.object(near_duplicates, "MANY", many),
        patch.multiple(module, MANY=many, FILES_AT_ONCE=2, MOST_KEPT=5),
    ):
        groups = near_groups(known)
        files = write_parts(Path(directory), known, groups, 3)

        found = known_tasks(files, new)

        assert near_groups(new, found.signatures, found.groups, found.sizes) == near_groups(new, known, groups)


def test_of_a_template_filled_in_ever_so_often_only_the_first_texts_are_kept(tmp_path: Path) -> None:
    """A night's memory does not grow with what is published."""
    random = Random(1)
    rows = np.array([signature(text) for text in texts_of(random, 600)])
    files = write_parts(tmp_path, rows, near_groups(rows), 100)

    found = known_tasks(files, rows[:1])

    assert len(found.groups) <= 16 * 4 + 1
