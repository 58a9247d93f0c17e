"""The write-ahead log: what it acknowledged is there after any death, and nothing else ever appears."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.log.disk import OsDisk
from receiver.log.records import HEADER_BYTES, OLDER_HEADER_MAGIC, OLDER_RECORD_MAGIC, RECORD, Entry
from receiver.log.wal import Loss, WriteAheadLog
from tests.scale import times
from tests.unit.receiver.simulated_disk import NeverSyncs, NeverSyncsDirectories, PowerLoss, SimulatedDisk

DIRECTORY = Path("/data/wal")
NUM_SEEDS = times(short=1_000, long=100_000)


def entry(body: bytes = b"spans", kind: int = 1, project: str = "default") -> Entry:
    return Entry(kind, project, body, received_ns=1_700_000_000_000_000_000)


def open_log(directory: Path, landed_seq: int = 0, segment_bytes: int = 8192) -> tuple[WriteAheadLog, list[bytes]]:
    wal = WriteAheadLog(directory, OsDisk(), segment_bytes=segment_bytes)
    recovery = wal.open(landed_seq)
    assert recovery.losses == []
    return wal, [record.entry.body for record in recovery.records]


def test_entries_come_back_as_they_were(tmp_path: Path) -> None:
    """Kind, project, time and bytes of an entry survive, numbered in the order of receipt."""
    wal, _ = open_log(tmp_path)
    entries = [entry(b"one", kind=2, project="acme"), entry(b""), entry(bytes(range(256)))]
    wal.write(entries)

    recovery = WriteAheadLog(tmp_path, OsDisk(), segment_bytes=8192).open(0)

    assert [record.entry for record in recovery.records] == entries
    assert [record.seq for record in recovery.records] == [1, 2, 3]


def test_landed_records_are_not_replayed_and_numbers_never_repeat(tmp_path: Path) -> None:
    """What has landed stays landed; the next number follows the largest one ever used."""
    wal, _ = open_log(tmp_path)
    wal.write([entry(b"one"), entry(b"two"), entry(b"three")])
    wal.close(landed_seq=2)

    wal, bodies = open_log(tmp_path, landed_seq=2)

    assert bodies == [b"three"]
    assert wal.write([entry(b"four")])[0].seq == 4


def test_segments_are_recycled_once_their_records_have_landed(tmp_path: Path) -> None:
    """However much passes through, the log keeps a handful of files."""
    wal, _ = open_log(tmp_path)
    for number in range(200):
        record = wal.write([entry(bytes(1000))])[0]
        if number % 3 == 2:
            wal.release(record.seq)

    assert len(list(tmp_path.glob("*.seg"))) <= 3
    assert {path.stat().st_size for path in tmp_path.glob("*.seg")} == {8192}


def test_an_entry_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    """A 64 MiB request must not need 64 MiB segments."""
    wal, _ = open_log(tmp_path)
    wal.write([entry(b"small"), entry(bytes(50_000)), entry(b"after")])

    _, bodies = open_log(tmp_path)

    assert [len(body) for body in bodies] == [5, 50_000, 5]
    wal.close(landed_seq=3)
    assert list(tmp_path.glob("*.seg")) == []


def test_a_log_closed_after_everything_landed_has_nothing_to_scan(tmp_path: Path) -> None:
    """An orderly stop leaves no segment: nothing to replay, and nobody's prompts on the disk."""
    wal, _ = open_log(tmp_path)
    wal.write([entry()])
    wal.close(landed_seq=1)

    _, bodies = open_log(tmp_path, landed_seq=0)

    assert bodies == []
    assert list(tmp_path.glob("*.seg")) == []


def record_offset(segment: bytes, body: bytes) -> int:
    return segment.index(body) - RECORD.size - len("default")


def test_damage_to_acknowledged_records_is_reported_quarantined_and_does_not_stop_the_start(tmp_path: Path) -> None:
    """The range lost is exact, every other record is recovered, and the damaged segment is kept aside."""
    wal, _ = open_log(tmp_path)
    for body in (b"record-one", b"record-two", b"record-three"):
        wal.write([entry(body)])
    path = next(tmp_path.glob("*.seg"))
    content = bytearray(path.read_bytes())
    content[content.index(b"record-two")] ^= 1
    path.write_bytes(content)

    recovery = WriteAheadLog(tmp_path, OsDisk(), segment_bytes=8192).open(0)

    assert [record.entry.body for record in recovery.records] == [b"record-one", b"record-three"]
    assert recovery.losses == [Loss(path, 2, 2)]
    assert [kept.read_bytes() for kept in (tmp_path / "quarantine").iterdir()] == [bytes(content)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_lost_header_costs_nothing_while_the_first_record_is_there(tmp_path: Path, number: int) -> None:
    """The marker of a record tells the generation of its segment, so that zeros for a header lose nothing."""
    wal, _ = open_log(tmp_path)
    for count in range(20):
        wal.write([entry(b"%04d" % count + bytes(1000))])
    damaged = sorted(tmp_path.glob("*.seg"))[number]
    damaged.write_bytes(bytes(HEADER_BYTES) + damaged.read_bytes()[HEADER_BYTES:])

    _, bodies = open_log(tmp_path)

    assert [int(body[:4]) for body in bodies] == list(range(20))


@pytest.mark.parametrize("damage", ["removed", "cut to nothing", "zeros"])
def test_a_first_segment_that_is_gone_is_a_loss(tmp_path: Path, damage: str) -> None:
    """The segment behind it says what was acknowledged before; the range is exact."""
    wal, _ = open_log(tmp_path)
    for count in range(20):
        wal.write([entry(b"%04d" % count + bytes(1000))])
    first = min(tmp_path.glob("*.seg"))
    match damage:
        case "removed":
            first.unlink()
        case "cut to nothing":
            first.write_bytes(b"")
        case "zeros":
            first.write_bytes(bytes(first.stat().st_size))

    recovery = WriteAheadLog(tmp_path, OsDisk(), segment_bytes=8192).open(0)

    recovered = [record.seq for record in recovery.records]
    (loss,) = recovery.losses
    assert (loss.first_seq, [*range(1, loss.last_seq + 1), *recovered]) == (1, list(range(1, 21)))


def test_numbers_go_on_above_the_floor(tmp_path: Path) -> None:
    """Whatever else is known: a number below was given out before."""
    wal = WriteAheadLog(tmp_path, OsDisk(), segment_bytes=8192)
    wal.open(0, floor_seq=30)

    assert wal.write([entry()])[0].seq == 31


def test_a_flipped_bit_in_a_body_full_of_markers_is_passed_over(tmp_path: Path) -> None:
    """What a damaged record holds is not looked at: it may be made to look like records."""
    wal, _ = open_log(tmp_path, segment_bytes=1 << 16)
    wal.write([entry(b"first")])
    content = min(tmp_path.glob("*.seg")).read_bytes()
    forged = content[HEADER_BYTES : HEADER_BYTES + 64]
    wal.write([entry(forged * 500 + b"flipped")])
    wal.write([entry(b"last")])
    path = min(tmp_path.glob("*.seg"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"flipped", b"flopped"))

    recovery = WriteAheadLog(tmp_path, OsDisk(), segment_bytes=1 << 16).open(0)

    assert [record.entry.body for record in recovery.records] == [b"first", b"last"]
    assert recovery.losses == [Loss(path, 2, 2)]


def test_segments_of_the_version_before_are_read(tmp_path: Path) -> None:
    """A receiver that is updated after a crash finds what the older one acknowledged."""
    wal, _ = open_log(tmp_path)
    wal.write([entry(b"one")])
    wal.write([entry(b"two")])
    path = min(tmp_path.glob("*.seg"))
    content = path.read_bytes()
    older = content.replace(content[HEADER_BYTES : HEADER_BYTES + 8], OLDER_RECORD_MAGIC)
    path.write_bytes(OLDER_HEADER_MAGIC + older[8:])

    _, bodies = open_log(tmp_path)

    assert bodies == [b"one", b"two"]


def test_a_lost_header_and_first_record_cost_their_segment_and_name_it(tmp_path: Path) -> None:
    """The segments before and after are recovered; the range between them is reported."""
    wal, _ = open_log(tmp_path)
    for number in range(20):
        wal.write([entry(b"%04d" % number + bytes(1000))])
    first, second, *_ = sorted(tmp_path.glob("*.seg"))
    content = bytearray(second.read_bytes())
    content[10] ^= 1
    content[HEADER_BYTES + 9] ^= 1
    second.write_bytes(content)

    recovery = WriteAheadLog(tmp_path, OsDisk(), segment_bytes=8192).open(0)

    recovered = {record.seq for record in recovery.records}
    (loss,) = recovery.losses
    assert loss.path == second
    assert recovered | set(range(loss.first_seq, loss.last_seq + 1)) == set(range(1, 21))
    assert not recovered & set(range(loss.first_seq, loss.last_seq + 1))
    assert first.exists()


def test_a_torn_tail_is_dropped_in_silence(tmp_path: Path) -> None:
    """The last group was never acknowledged, so its absence is no loss."""
    wal, _ = open_log(tmp_path)
    wal.write([entry(b"acknowledged")])
    wal.write([entry(b"torn-one"), entry(b"torn-two")])
    path = next(tmp_path.glob("*.seg"))
    content = bytearray(path.read_bytes())
    content[content.index(b"torn-one")] ^= 1
    path.write_bytes(content)

    _, bodies = open_log(tmp_path)

    assert bodies == [b"acknowledged"]


def test_a_header_cut_to_zeros_is_not_an_empty_record(tmp_path: Path) -> None:
    """Length 0 with checksum 0 must not pass: the checksum covers generation, length and number."""
    wal, _ = open_log(tmp_path)
    wal.write([entry(b"first")])
    path = next(tmp_path.glob("*.seg"))
    content = bytearray(path.read_bytes())
    size = RECORD.size + len("default") + len(b"first")
    end = HEADER_BYTES + size + -size % 8
    content[end : end + 8] = content[HEADER_BYTES : HEADER_BYTES + 8]
    path.write_bytes(content)

    _, bodies = open_log(tmp_path)

    assert bodies == [b"first"]


def live_until_power_loss(
    wal: WriteAheadLog, chance: random.Random, landed: list[int], acknowledged: dict[int, bytes], sent: set[bytes]
) -> None:
    """Write, fail and land at random until the power goes or a while has passed."""
    for _ in range(chance.randrange(1, 30)):
        bodies = [chance.randbytes(chance.choice([0, 10, 700, 5000])) + b"#%d" % len(sent)]
        sent.update(bodies)
        while chance.random() < 0.5:
            bodies.append(chance.randbytes(chance.randrange(900)) + b"#%d" % len(sent))
            sent.add(bodies[-1])
        try:
            records = wal.write([entry(body) for body in bodies])
        except OSError:
            continue
        acknowledged.update({record.seq: record.entry.body for record in records})
        if chance.random() < 0.3:
            landed[0] = chance.randint(landed[0], max(acknowledged))
            try:
                wal.release(landed[0])
            except OSError:
                continue


def check_survival(make_disk: Callable[..., SimulatedDisk], seed: int) -> None:
    """Live through three power losses; after each, acknowledged ⊆ stored ⊆ sent, each once, and no false alarm."""
    chance = random.Random(seed)
    acknowledged: dict[int, bytes] = {}
    sent: set[bytes] = set()
    landed = [0]
    disk = make_disk(seed, fail_rate=0.0)
    for life in range(4):
        wal = WriteAheadLog(DIRECTORY, disk, segment_bytes=4096)
        try:
            recovery = wal.open(landed[0])
        except (PowerLoss, OSError):  # the start failed, and with it this life
            disk = disk.crash(seed + life)
            continue
        recovered = {record.seq: record.entry.body for record in recovery.records}
        assert len(recovered) == len(recovery.records), "a record came back twice"
        assert recovery.losses == [], "an alarm without damage"
        assert set(recovered.values()) <= sent, "something came back that was never sent"
        missing = {seq for seq in acknowledged if seq > landed[0]} - set(recovered)
        assert not missing, f"acknowledged and lost: {sorted(missing)}"
        assert all(recovered[seq] == body for seq, body in acknowledged.items() if seq > landed[0])
        acknowledged.update(recovered)
        with contextlib.suppress(PowerLoss):
            live_until_power_loss(wal, chance, landed, acknowledged, sent)
        disk = disk.crash(
            seed + life, fail_rate=chance.choice([0.0, 0.05]), operations=chance.choice([None, chance.randrange(200)])
        )


@pytest.mark.timeout(times(short=300, long=7200))
def test_no_acknowledged_record_is_lost_to_a_power_failure() -> None:
    """Over many random lives with failing writes, fsyncs and cut power; the seed is in the failure."""
    for seed in range(NUM_SEEDS):
        try:
            check_survival(SimulatedDisk, seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("mutant", [NeverSyncs, NeverSyncsDirectories])
def test_the_simulation_catches_a_log_that_forgets_to_sync(mutant: type[SimulatedDisk]) -> None:
    """A test that cannot fail proves nothing: these two mistakes must be found, and often."""
    caught = 0
    for seed in range(60):
        try:
            check_survival(mutant, seed)
        except AssertionError:
            caught += 1
    assert caught > 30


def test_a_failed_fsync_is_never_tried_again_on_the_same_file(tmp_path: Path) -> None:
    """After EIO the kernel may have dropped the pages, and a second fsync would lie."""

    class FailsOnce(OsDisk):
        def __init__(self) -> None:
            self.failures = 1
            self.synced: list[int] = []

        def sync(self, handle: int) -> None:
            self.synced.append(handle)
            if len(self.synced) == 3 and self.failures:
                self.failures -= 1
                raise OSError(5, "simulated")
            super().sync(handle)

    disk = FailsOnce()
    wal = WriteAheadLog(tmp_path, disk, segment_bytes=8192)
    wal.open(0)
    wal.write([entry(b"kept")])
    with pytest.raises(OSError, match="simulated"):
        wal.write([entry(b"refused")])
    wal.write([entry(b"after")])

    assert len(list(tmp_path.glob("*.seg"))) == 2
    recovery = WriteAheadLog(tmp_path, OsDisk(), segment_bytes=8192).open(0)
    bodies = [record.entry.body for record in recovery.records]
    assert [body for body in bodies if body != b"refused"] == [b"kept", b"after"]
    assert recovery.losses == []
