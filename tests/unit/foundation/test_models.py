from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.models import find_model, is_in_snapshot_of, model_name


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out what `hf download Qwen/Qwen3-0.6B` leaves behind: a snapshot of links into a folder of contents."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--Qwen--Qwen3-0.6B"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c1899de")
    (repository / "blobs").mkdir()
    (repository / "blobs" / "abc").write_text("{}")
    found = repository / "snapshots" / "c1899de"
    found.mkdir(parents=True)
    (found / "config.json").symlink_to("../../blobs/abc")
    return found


def test_an_id_names_what_was_downloaded(snapshot: Path) -> None:
    """Agents know it by its name on the hub, and its links into the cache are its own."""
    found = find_model(Path("Qwen/Qwen3-0.6B"))

    assert found == snapshot
    assert model_name(found) == "Qwen3-0.6B"
    assert is_in_snapshot_of(found / "config.json", found)


def test_a_link_elsewhere_is_not_the_models_own(snapshot: Path, tmp_path: Path) -> None:
    """Neither out of the cache nor into another model's part of it."""
    other = tmp_path / "models--a--b" / "blobs"
    other.mkdir(parents=True)
    (other / "x").write_text("")
    (snapshot / "x").symlink_to(other / "x")
    (snapshot / "y").symlink_to("/etc/hostname")

    assert not is_in_snapshot_of(snapshot / "x", snapshot)
    assert not is_in_snapshot_of(snapshot / "y", snapshot)
    assert not is_in_snapshot_of(tmp_path / "z", tmp_path)


def test_a_name_that_leads_nowhere_is_answered_with_the_way(snapshot: Path) -> None:
    """An id that was never downloaded, and a path that is none."""
    with pytest.raises(SettingsError, match="cache") as missing:
        find_model(Path("Qwen/Qwen3-9B"))
    assert "hf download Qwen/Qwen3-9B" in str(missing.value.hint)
    with pytest.raises(SettingsError, match="no directory"):
        find_model(snapshot / "nowhere")
