"""status.json: whole at every moment, and soon true after a change."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import trio

from supervisor.logfile import Log
from supervisor.status import DEBOUNCE_SECONDS, StatusFile, remove_status, write_status


def test_the_file_is_replaced_not_rewritten(tmp_path: Path):
    write_status(str(tmp_path), {"state": "starting"})
    with (tmp_path / "status.json").open() as reader:
        write_status(str(tmp_path), {"state": "ready"})
        assert json.load(reader) == {"state": "starting"}
    assert json.loads((tmp_path / "status.json").read_text()) == {"state": "ready"}
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    remove_status(str(tmp_path))
    remove_status(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_takes_a_part_of_only_replaces_nothing(tmp_path: Path):
    write_status(str(tmp_path), {"state": "ready"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a disk that has room for so many bytes
    try:
        with pytest.raises(OSError, match="File too large"):
            write_status(str(tmp_path), {"state": "x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert json.loads((tmp_path / "status.json").read_text()) == {"state": "ready"}
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


async def test_many_changes_are_one_write(tmp_path: Path, nursery, autojump_clock):
    asked: list[float] = []

    def snapshot() -> dict[str, object]:
        asked.append(trio.current_time())
        return {"writes": len(asked)}

    status = StatusFile(str(tmp_path), snapshot, Log(stderr=False))
    nursery.start_soon(status.serve)
    for _ in range(100):
        status.changed()
        await trio.lowlevel.checkpoint()
    await trio.sleep(2 * DEBOUNCE_SECONDS)
    assert len(asked) == 1
    status.changed()
    await trio.sleep(2 * DEBOUNCE_SECONDS)
    assert json.loads((tmp_path / "status.json").read_text()) == {"writes": 2, "reloads": {"count": 0, "error": None}}
    for count, error in enumerate(("gateway.port: found 0", None), 1):
        status.reloaded(error)
        await trio.sleep(2 * DEBOUNCE_SECONDS)
        assert json.loads((tmp_path / "status.json").read_text())["reloads"] == {"count": count, "error": error}
    nursery.cancel_scope.cancel()


def test_a_directory_that_is_gone_is_logged_once_and_hurts_nobody(tmp_path: Path):
    log = Log(stderr=False)
    log.open_file(str(tmp_path / "log"), 100_000, 0)
    status = StatusFile(str(tmp_path / "gone"), dict, log)
    status.write_now()
    status.write_now()
    log.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 1
