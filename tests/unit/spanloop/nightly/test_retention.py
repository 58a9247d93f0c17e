"""Old checkpoints go, and nothing that anybody may need."""

from pathlib import Path

from serve.schema import Canary, Registry
from spanloop.nightly.retention import choose_superseded, prune
from tests.serving import with_manifest
from train.schema import MANIFEST, PRUNED, Base


def checkpoint(out: Path, name: str, base: Path | None = None) -> Path:
    (out / name).mkdir(parents=True)
    (out / name / "model.safetensors").write_bytes(b"weights")
    (out / name / "credit.parquet").write_bytes(b"credit")
    about = None if base is None else Base(path=str(base), version="b", weights_digest="0")
    return with_manifest(out / name, base=about, probes=[])


def registry(live: Path, *previous: Path, canary: Path | None = None) -> Registry:
    tried = None
    if canary is not None:
        tried = Canary(
            checkpoint=str(canary), version="c", share=0.1, shares=(0.1,), alpha=0.1, units=1, reward=None,
            started_time="", share_time="",
        )  # fmt: skip
    names = tuple(map(str, previous))
    return Registry(base="b", live=str(live), live_version="v", previous=names, canary=tried, changed_time="")


def test_what_is_needed_stays_and_the_rest_goes_oldest_first(tmp_path: Path) -> None:
    """Live, those before it, the canary, an adapter's base, and the newest two."""
    paths = [checkpoint(tmp_path, f"2026010{day}") for day in range(1, 9)]
    adapter = checkpoint(tmp_path, "20260109-adapter", base=paths[3])
    (tmp_path / ".resume-1").mkdir()

    found = choose_superseded(tmp_path, registry(paths[5], paths[1], canary=paths[2]), keep=2)

    assert found == [paths[0], paths[4], paths[6]]
    assert adapter not in found
    assert choose_superseded(tmp_path / "missing", registry(paths[0]), keep=1) == []


def test_what_was_pruned_is_no_checkpoint_and_says_what_it_was(tmp_path: Path) -> None:
    """Its weights are gone; credit and manifest, by another name, stay; and a second time there is nothing to do."""
    old, new = checkpoint(tmp_path, "1"), checkpoint(tmp_path, "2")

    assert prune(tmp_path, registry(new), keep=1) == ["1"]
    assert {path.name for path in old.iterdir()} == {PRUNED, "credit.parquet"}
    assert (new / MANIFEST).exists()
    assert prune(tmp_path, registry(new), keep=1) == []
