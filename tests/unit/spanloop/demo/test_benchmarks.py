"""A benchmark's inputs are looked for before anything is started, and what was made once is used again."""

import hashlib
import sys
from pathlib import Path

import pytest

from foundation.errors import SettingsError
from spanloop.demo import benchmarks
from spanloop.demo.benchmarks import BENCHMARKS, ROOT, environment, require_inputs, warm_model
from spanloop.demo.settings import DemoConfig

SPIDER = BENCHMARKS["spider"]


@pytest.fixture(autouse=True)
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is made in a directory of the test's own, and have nothing be made."""

    def run(*_: object, **__: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(benchmarks, "BUILD", tmp_path / "build")
    monkeypatch.setattr(benchmarks.subprocess, "run", run)
    return tmp_path / "build"


def test_what_is_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    """Data sets first, then the model."""
    config = DemoConfig(task="spider", datasets=tmp_path, model=tmp_path / "m")
    with pytest.raises(SettingsError, match="no data sets of spider"):
        require_inputs(SPIDER, config)

    (tmp_path / "spider").mkdir()
    with pytest.raises(SettingsError, match="no model in"):
        require_inputs(SPIDER, config)

    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    require_inputs(SPIDER, config)


def test_the_full_task_has_no_flags_of_the_small_one() -> None:
    """Each benchmark has a part a small model can begin with."""
    for one in BENCHMARKS.values():
        assert one.flags(DemoConfig(full=True)) == []
        assert one.flags(DemoConfig()) == list(one.restricted) != []


def test_an_environment_that_still_fits_is_not_made_again(build: Path) -> None:
    """One whose requirements changed is."""
    place = build / "tasks" / "spider"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").symlink_to(sys.executable)
    mark = place / "requirements.sha256"
    mark.write_text(hashlib.sha256((ROOT / "examples/spider/requirements.txt").read_bytes()).hexdigest())

    assert environment(SPIDER) == place.absolute() / "bin" / "python"
    mark.write_text("another")
    with pytest.raises(AssertionError, match="already"):
        environment(SPIDER)


def test_a_warm_model_is_of_what_it_was_made_from(build: Path, tmp_path: Path) -> None:
    """Of the same model, data sets and task it is used again; of others one is made; without it the model itself is."""
    config = DemoConfig(task="spider", datasets=tmp_path, model=tmp_path / "m")
    told = " ".join([str(config.model.absolute()), str(config.datasets.absolute()), *SPIDER.restricted])
    made = build / "models" / f"spider-warm-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    made.mkdir(parents=True)
    (made / "manifest.json").write_text("{}")

    assert warm_model(SPIDER, config, Path("python")) == made.absolute()
    assert warm_model(SPIDER, config.model_copy(update={"warm": False}), Path("python")) == config.model
    with pytest.raises(AssertionError, match="already"):
        warm_model(SPIDER, config.model_copy(update={"full": True}), Path("python"))
