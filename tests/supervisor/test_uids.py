"""A uid is given once, for ever."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from supervisor.settings import UidRange
from supervisor.uids import NoUid, Uids
from tests.support.syncs import watch_syncs

RANGE = UidRange(first=61_100, count=2, gid=61_100)


def test_each_agent_keeps_its_own_across_restarts(tmp_path: Path):
    uids = Uids(str(tmp_path))
    assert [uids.uid_of(agent, RANGE) for agent in ("main", "scout", "main")] == [61_100, 61_101, 61_100]
    assert Uids(str(tmp_path)).uid_of("scout", RANGE) == 61_101
    assert (tmp_path / "uids.json").stat().st_mode & 0o777 == 0o600


def test_a_range_that_is_used_up_is_said_with_the_fix(tmp_path: Path):
    uids = Uids(str(tmp_path))
    uids.uid_of("a", RANGE)
    uids.uid_of("b", RANGE)
    with pytest.raises(NoUid, match=r"raise supervisor\.uids\.count"):
        uids.uid_of("c", RANGE)


def test_a_uid_of_an_earlier_range_stays_taken(tmp_path: Path):
    uids = Uids(str(tmp_path))
    uids.uid_of("a", RANGE)
    later = UidRange(first=61_200, count=1, gid=61_100)
    assert uids.uid_of("a", later) == 61_200
    assert uids.uid_of("b", RANGE) == 61_101  # not 61100, whose files may still lie around
    assert json.loads((tmp_path / "uids.json").read_text()) == {"a": 61_200, "a@61100": 61_100, "b": 61_101}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": "b"}'])
def test_a_table_that_cannot_be_read_gives_nobody_a_uid(tmp_path: Path, text: str):
    (tmp_path / "uids.json").write_text(text)
    with pytest.raises(NoUid, match="restore it"):
        Uids(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_runs_under_a_uid_is_killed_before_its_first_use_and_only_then(tmp_path: Path):
    uids = Uids(str(tmp_path))
    squatter = subprocess.Popen(["sleep", "60"], user=61_150)
    other = subprocess.Popen(["sleep", "60"], user=61_151)
    try:
        assert uids.empty_once(61_150) == [squatter.pid]
        assert squatter.wait(5) == -signal.SIGKILL
        assert uids.empty_once(61_150) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_uid_is_given_when_the_table_and_its_name_are_on_the_disk(tmp_path: Path, monkeypatch):
    syncs = watch_syncs(monkeypatch, tmp_path)
    Uids(str(tmp_path)).uid_of("main", RANGE)
    assert [one.of for one in syncs] == [str(tmp_path / f"uids.json.{os.getpid()}"), str(tmp_path)]
    assert syncs[-1].names == {"uids.json"}


def test_a_table_the_disk_takes_a_part_of_only_replaces_nothing(tmp_path: Path):
    long = "a" * 1000
    assert Uids(str(tmp_path)).uid_of("main", RANGE) == 61_100
    uids, limits = Uids(str(tmp_path)), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a disk that has room for so many bytes
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="File too large"):
                uids.uid_of(long, RANGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Uids(str(tmp_path)).uid_of("main", RANGE) == 61_100
    assert uids.uid_of(long, RANGE) == Uids(str(tmp_path)).uid_of(long, RANGE) == 61_101
