"""The gateway's own key, where its receiver asks for keys."""

from pathlib import Path

from serve.evidence.own_keys import OwnKeys
from serve.evidence.sending import Outcome, Verdict
from serve.evidence.spool import Spool
from tests.serving import write_keys
from tests.unit.serve.evidence.test_delivery import TAKEN, Bench, Receiver


class Guarded(Receiver):
    """Asks for keys as a receiver on the same DATA does."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        self.projects: dict[str, str] = {}
        self._data = data
        self.answer = self._check

    def _check(self, _: int, key: str | None) -> Outcome:
        from foundation.web.keys import KeyRing, Unauthenticated

        ring = KeyRing(self._data)
        try:
            if ring.keys():
                found = ring.find(key or "")
                assert found.scopes == ("ingest",)
                self.projects[str(key)] = found.project
        except Unauthenticated:
            return Outcome(Verdict.LATER, "UNAUTHENTICATED: no", needs_key=True)
        return TAKEN


def test_making_a_key_does_not_silence_the_loop(tmp_path: Path) -> None:
    """The first key of DATA, for agents alone: the gateway makes itself one for each project it has callers of."""
    receiver = Guarded(tmp_path)
    bench = Bench(receiver, None, OwnKeys(tmp_path))
    bench.end(2)
    bench.wait(num_spans_exported=2)
    write_keys(tmp_path, agents=["serve"])
    bench.end(2)
    bench.end(3, project="p")
    bench.end(4, project="q")
    bench.wait(num_spans_exported=11, num_spans_waiting=0)
    bench.delivery.close(1)

    by_project = [receiver.projects[key] for key in receiver.taken.values() if key is not None]
    assert {project: by_project.count(project) for project in by_project} == {"p": 5, "q": 4}
    kept = tmp_path / "serve" / "exporter_keys.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    again = Bench(receiver, None, OwnKeys(tmp_path))
    again.end(1, project="q")
    again.wait(num_spans_exported=1)
    again.delivery.close(1)


def test_a_key_that_was_revoked_is_not_made_again(tmp_path: Path) -> None:
    """Whoever revoked it meant it: spans wait, and status says why."""
    receiver = Guarded(tmp_path)
    write_keys(tmp_path, agents=["serve"])
    bench = Bench(receiver, Spool(tmp_path / "spool", max_bytes=1 << 20, min_free_bytes=0), OwnKeys(tmp_path))
    bench.end(1)
    bench.wait(num_spans_exported=1)
    write_keys(tmp_path, agents=["serve"])
    bench.end(1)
    bench.wait(num_spans_spooled=1)
    bench.delivery.close(1)

    assert "revoked" in str(bench.delivery.trouble)
