"""`peergate backup`, `restore`, `recover` without a running system: what is said when they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.store.opening import open_writing
from tests.supervisor.cli.support import Shell


@pytest.fixture
def database(peergate: Shell) -> Path:
    """A database in the state directory, used by nobody."""
    path = peergate.home / "state" / "peergate.db"
    path.parent.mkdir(mode=0o700)
    db, _ = open_writing(path)
    db.close()
    return path


def test_a_file_that_is_no_backup_is_refused_without_commands_about_the_database_there_is(
    peergate: Shell, database: Path
):
    (peergate.home / "notes.txt").write_text("no database\n" * 500)
    before = database.read_bytes()
    told = peergate("restore", str(peergate.home / "notes.txt"))
    assert told.code == 1
    assert "notes.txt was not restored: file is not a database\n  name another backup\n" in told.err
    assert "recover" not in told.err
    assert database.read_bytes() == before


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("name", ["backup", "recover"])
def test_a_place_where_no_file_can_be_made_is_named_with_what_to_do_and_nothing_else(peergate: Shell, name: str):
    (peergate.home / "notes").write_text("precious")
    assert peergate(name, "--force", str(peergate.home / "notes")).err.endswith("nothing else, name another file\n")
    assert peergate(name, str(peergate.home / "old.db")).code == 0
    taken = peergate(name, str(peergate.home / "old.db"))
    assert taken.code == 1
    assert taken.err.endswith("old.db exists already; name another file, or overwrite it with --force\n")
    assert peergate(name, str(peergate.home / "old.db"), "--force").code == 0
    assert peergate(name, "--force", str(peergate.home)).err.endswith(" is a directory; name a file in it\n")
    missing = peergate(name, str(peergate.home / "new" / "x.db"))
    assert missing.err.endswith("is no directory; make it first, or name a file elsewhere\n")


def test_where_there_is_no_state_directory_the_command_that_makes_one_is_told(peergate: Shell, database: Path):
    assert peergate("backup", str(peergate.home / "saved.db")).code == 0
    database.parent.rename(peergate.home / "aside")
    told = peergate("restore", str(peergate.home / "saved.db"), "--json")
    assert told.code == 1
    error = told.document["error"]
    assert error["message"] == f"there is no state directory {database.parent}"
    assert error["fix"].endswith(f": mkdir -m 700 {database.parent}")
    database.parent.mkdir(mode=0o700)
    assert peergate("restore", str(peergate.home / "saved.db")).code == 0
    assert database.exists()
