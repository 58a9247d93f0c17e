"""What the doctor finds where models are served."""

from pathlib import Path

from serve.schema import Canary, Registry, encode_file, registry_path
from spanloop.doctor.serving import check_serving
from tests.silent import nobody
from tests.unit.spanloop.doctor.stored import about
from tests.unit.spanloop.doctor.test_machine import describe_gateway


def keep(data: Path, *, live: Path, canary: Path | None = None) -> None:
    """Have a model live, and another tried."""
    tried = canary and Canary(
        checkpoint=str(canary), version="v2", share=0.1, shares=(0.1,), alpha=0.05, units=1, reward=None,
        started_time="", share_time="",
    )  # fmt: skip
    registry_path(data).parent.mkdir(parents=True, exist_ok=True)
    registry = Registry(base="m", live=str(live), live_version="v1", canary=tried, changed_time="")
    registry_path(data).write_bytes(encode_file(registry))


def test_a_registry_whose_checkpoint_is_gone_fails(tmp_path: Path) -> None:
    """With the way back."""
    keep(tmp_path, live=tmp_path / "gone")

    finding = about(check_serving(tmp_path), "registry")

    assert finding.verdict == "fail"
    assert "rollback" in (finding.remedy or "")


def test_a_canary_that_is_gone_fails_though_the_live_model_is_there(tmp_path: Path) -> None:
    """A share of the calls is its."""
    (tmp_path / "live").mkdir()
    keep(tmp_path, live=tmp_path / "live")
    assert about(check_serving(tmp_path), "registry").verdict == "ok"

    keep(tmp_path, live=tmp_path / "live", canary=tmp_path / "gone")

    finding = about(check_serving(tmp_path), "registry")
    assert (finding.verdict, str(tmp_path / "gone") in finding.message) == ("fail", True)


def test_a_gateway_that_left_its_description_behind_does_not_pass_for_one(tmp_path: Path) -> None:
    """As after a kill."""
    with nobody() as address:
        describe_gateway(tmp_path, address)

        assert about(check_serving(tmp_path), "gateway").verdict == "warn"


def test_spans_that_wait_for_a_receiver_are_counted(tmp_path: Path) -> None:
    """Nothing waits in an empty spool."""
    spool = tmp_path / "serve" / "spool"
    spool.mkdir(parents=True)
    assert "spool" not in {one.check for one in check_serving(tmp_path)}
    (spool / "1").touch()

    finding = about(check_serving(tmp_path), "spool")

    assert (finding.verdict, finding.message.startswith("1 files")) == ("warn", True)
