"""Somebody takes the database away, or puts another file in its place, while the system uses it: nothing more is
acknowledged than what will be found again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.test_database_damage import runs, turn
from tests.support.system import Answer, System, eventually, running


@pytest.fixture
def system() -> Iterator[System]:
    with running({"logging": {"level": "info"}}) as started:
        turn(started, "one")
        yield started


def files(system: System) -> list[Path]:
    state = system.directory / "state"
    return [state / f"peergate.db{end}" for end in ("", "-wal", "-shm")]


def refused(system: System, key: str) -> str:
    """Send a message that is not taken; what is said."""
    with pytest.raises(Answer) as no:
        system.call("agent", {"agentId": "main", "message": "hello", "idempotencyKey": key})
    assert no.value.shape["code"] == "UNAVAILABLE"
    return str(no.value.shape["message"])


def test_a_database_that_is_moved_away_takes_nothing_until_it_is_back(system: System):
    database = files(system)[0]
    aside = database.with_name("aside.db")
    database.rename(aside)
    assert f"{database} was removed while it was in use. Put it back" in refused(system, "two")
    assert runs(system) == ["one"], "reads are answered"
    health = system.cli("health")
    assert "NOT WELL" in health.stdout
    assert "was removed while it was in use" in health.stdout
    aside.rename(database)
    eventually(lambda: "NOT WELL" not in system.cli("health").stdout)
    turn(system, "two")
    assert runs(system) == ["one", "two"]
    assert system.stop() == 0


@pytest.mark.parametrize("taken", ["everything", "the log"])
def test_what_was_removed_can_be_saved_and_started_with(system: System, taken: str):
    for file in files(system) if taken == "everything" else files(system)[1:2]:
        file.unlink()
    assert "peergate backup FILE && peergate stop && peergate restore FILE" in refused(system, "two")
    saved = str(system.directory / "saved.db")
    assert system.cli("backup", saved).returncode == 0
    assert system.stop() == 0
    assert system.cli("restore", saved).returncode == 0
    system.start()
    turn(system, "three")
    assert runs(system) == ["one", "three"]
    assert system.stop() == 0


def test_what_was_removed_can_be_saved_before_anything_was_refused(system: System):
    for file in files(system):
        file.unlink()
    saved = str(system.directory / "saved.db")
    told = system.cli("backup", saved)
    assert told.returncode == 0, told.stderr


def test_a_copy_put_in_its_place_is_not_written_to(system: System):
    database = files(system)[0]
    copy = database.with_name("copy.db")
    assert system.cli("backup", str(copy)).returncode == 0
    turn(system, "two")
    shutil.copy(copy, database.with_name("next.db"))
    database.with_name("next.db").rename(database)
    assert f"{database} was replaced by another file" in refused(system, "three")
    assert database.read_bytes() == copy.read_bytes()
    assert runs(system) == ["one", "two"]
    assert system.stop() == 0
    system.start()
    assert runs(system) == ["one"], "that is what whoever put it there wanted"
    turn(system, "three")
    assert system.stop() == 0
