"""A thread that matters does not die in silence, and what is told of errors quotes nobody."""

import duckdb
import pytest

from receiver.flow.vital import VitalThread, describe


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, MemoryError])
def test_a_death_is_told_with_its_cause(error: type[BaseException]) -> None:
    """Whatever it died of."""
    deaths: list[str] = []

    def work() -> None:
        raise error

    thread = VitalThread(work, name="receiver-test", on_death=deaths.append)
    thread.start()
    thread.join(10)

    (death,) = deaths
    assert "receiver-test" in death
    assert error.__name__ in death


def test_an_orderly_end_is_no_death() -> None:
    """There was no more to do."""
    deaths: list[str] = []
    thread = VitalThread(lambda: None, name="receiver-test", on_death=deaths.append)
    thread.start()
    thread.join(10)

    assert deaths == []


def test_only_a_database_s_or_file_system_s_own_words_are_told() -> None:
    """Other messages may quote what was sent."""
    for error, reason in (
        (KeyError("secret"), None),
        (duckdb.ConversionException("secret"), None),
        (OSError(28, "No space left on device", "secret"), "No space left on device"),
        (duckdb.IOException("cannot write"), "cannot write"),
    ):
        assert describe(error).get("reason") == reason
        assert "secret" not in str(describe(error))
