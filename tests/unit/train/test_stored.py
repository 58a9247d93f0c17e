"""What a training reads of a store, and what it brings back."""

import shutil
from pathlib import Path

import pytest

from etl.published.stored import committing
from etl.schema import Split, read_watermark, table_files
from foundation.errors import Busy, SettingsError
from foundation.store.directory import push_directory
from foundation.store.opening import open_store
from foundation.store.pointer import read_pointer
from foundation.store.store import Store
from foundation.web import places
from tests.logged import bandit, publish, transition
from tests.stores import KINDS, new_url
from train.cli import run
from train.data.feedback import read_feedback
from train.data.reading import read_transitions
from train.schema import CREDIT_FILE, MANIFEST, read_manifest
from train.settings import TrainConfig
from train.stored import at_hand, bring_tables, take_back


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty store; the working directory is empty too."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv(places.STORE, raising=False)
    return new_url(request.param, tmp_path)


def commit(store: Store, data: Path) -> Path:
    with committing(data, store, purpose="a test") as committed:
        committed.publish()
    return data


def test_a_directory_is_left_as_it_is(tmp_path: Path, model: Path) -> None:
    """Nothing is copied where nothing is in a store."""
    config = TrainConfig(data=tmp_path, model=model)
    assert at_hand(config) is config


def test_the_transitions_and_the_checkpoint_that_are_named_come(
    url: str, tmp_path: Path, checkpoint: Path, model: Path
) -> None:
    """The rows are those that were published, the model is known by its name; a model's directory is taken as it is."""
    store = open_store(url)
    data = commit(store, publish(tmp_path / "data", [transition(), transition(span_id="b", step=1)]))
    push_directory(store, "checkpoints", checkpoint.name, directory=checkpoint)

    brought = at_hand(TrainConfig(data=Path(url), model=Path(checkpoint.name)))

    assert read_transitions(brought.data, Split.TRAIN).equals(read_transitions(data, Split.TRAIN))
    assert read_manifest(brought.model) == read_manifest(checkpoint)
    assert brought.out == brought.model.parent
    assert at_hand(TrainConfig(data=Path(url), model=model, out=tmp_path)).model_dump(include={"model", "out"}) == {
        "model": model,
        "out": tmp_path,
    }


def test_what_was_said_in_words_comes_where_it_is_learned_from(url: str, tmp_path: Path, model: Path) -> None:
    """The tables that hold it, and no others."""
    score = {"project": "test", "episode_id": "e", "judges": "episode", "explanation": "Rude.", "used": True}
    commit(open_store(url), publish(tmp_path / "data", [transition()], rewards=[score], episodes=[]))

    brought = at_hand(TrainConfig(data=Path(url), model=model, recipe="feedback"))

    assert read_feedback(brought.data) == {("test", "e", ""): ["Rude."]}
    assert not any(path.exists() for path in table_files(brought.data, "episodes"))


def test_what_is_published_no_more_goes(url: str, tmp_path: Path) -> None:
    """Its rows may have been forgotten."""
    store = open_store(url)
    copy = tmp_path / "copy"
    commit(store, publish(tmp_path / "data", [transition()]))
    assert bring_tables(store, read_pointer(store, "dataset.json"), copy) == 1
    before = table_files(copy, "transitions")
    pointer = read_pointer(store, "dataset.json")
    pointer.files = {}

    assert bring_tables(store, pointer, copy) == 0

    assert not any(path.exists() for path in before)
    assert read_watermark(copy) == pointer.facts["watermark"]


def test_a_commit_in_between_is_said(url: str, tmp_path: Path) -> None:
    """The files that were named are gone; the next try reads the next commit."""
    store = open_store(url)
    data = commit(store, publish(tmp_path / "data", [transition()]))
    old = read_pointer(store, "dataset.json")
    shutil.rmtree(data / "dataset")
    store.remove(next(iter(old.files)))
    store.remove("dataset.json")

    with pytest.raises(Busy, match="meanwhile"):
        bring_tables(store, old, tmp_path / "copy")
    with pytest.raises(SettingsError, match="nothing is published"):
        at_hand(TrainConfig(data=Path(url), model=tmp_path))


def test_a_checkpoint_goes_where_store_says_without_its_credit(
    url: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nowhere where no store is named for it."""
    take_back(checkpoint)
    monkeypatch.setenv(places.STORE, url)
    take_back(checkpoint)

    names = {key.rpartition("/")[2] for key, _ in open_store(url).names("checkpoints")}
    assert {MANIFEST, f"{checkpoint.name}.json"} <= names
    assert (checkpoint / CREDIT_FILE).exists()
    assert CREDIT_FILE not in names


def test_trained_from_a_store_a_checkpoint_is_that_of_a_directory(
    url: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights, to the bit, and they are in the store under the name they have here."""
    rows = bandit(model, num_tasks=32, attempts=4, rewarded=130)
    data = commit(open_store(url), publish(tmp_path / "data", rows))
    settings = {"model": model, "learning_rate": 1e-3, "epochs": 1, "kl_budget": 9}
    monkeypatch.setenv(places.STORE, url)

    run(config=TrainConfig(data=data, **settings))
    run(config=TrainConfig(data=Path(url), **settings))

    (here,), (there,) = ([*(each / "checkpoints").iterdir()] for each in (data, Path("spanloop-data")))
    assert read_manifest(here).weights_digest == read_manifest(there).weights_digest
    assert read_manifest(here).window["files"] == read_manifest(there).window["files"]
    pushed = [key for key, _ in open_store(url).names("checkpoints") if key.count("/") == 1]
    assert pushed == [f"checkpoints/{there.name}.json"]
