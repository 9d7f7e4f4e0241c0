"""One supervisor per directory: who has it is said, and what a dead one wrote refuses nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from supervisor.cli.backup import held
from supervisor.cli.errors import CliError
from supervisor.lock import Lock, Locked


@pytest.fixture
def state(tmp_path: Path):
    (tmp_path / "state").mkdir()
    return str(tmp_path / "state")


@pytest.fixture
def runtime(tmp_path: Path):
    (tmp_path / "run").mkdir()
    return str(tmp_path / "run")


def test_the_second_is_told_the_pid_of_the_first_and_what_to_do(state, runtime, tmp_path):
    with Lock(state, runtime) as first, Lock(state, str(tmp_path)) as second:
        first.take_nowait()
        with pytest.raises(Locked, match=rf"pid {os.getpid()}, since .*peergate stop"):
            second.take_nowait()


def test_two_state_directories_cannot_share_a_runtime_directory(state, runtime, tmp_path):
    with Lock(state, runtime) as first, Lock(str(tmp_path), runtime) as second:
        first.take_nowait()
        with pytest.raises(Locked, match="another state directory"):
            second.take_nowait()
        (tmp_path / "other").mkdir()
        with Lock(str(tmp_path), str(tmp_path / "other")) as third:  # what it had was given back
            third.take_nowait()


@pytest.mark.parametrize("gone", ["removed", "replaced"])
def test_a_lock_file_that_is_gone_lets_nobody_in(state, runtime, tmp_path, gone):
    with Lock(state, runtime) as first:
        first.take_nowait()
        (Path(state) / "lock").unlink()
        if gone == "replaced":
            (Path(state) / "lock").write_text("")
        with Lock(state, str(tmp_path)) as second, pytest.raises(Locked, match="is in use"):
            second.take_nowait()
        with pytest.raises(CliError, match="must be stopped first"), held(state):
            pass


def test_one_directory_can_be_both(state):
    with Lock(state, state) as both:
        both.take_nowait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1, "started": 1e300, "command": "x"}'])
def test_what_stands_in_the_file_decides_nothing(state, runtime, tmp_path, text):
    (Path(state) / "lock").write_text(text)
    with Lock(state, runtime) as first, Lock(state, str(tmp_path)) as second:
        first.take_nowait()
        (Path(state) / "lock").write_text(text)
        with pytest.raises(Locked, match="another process"):
            second.take_nowait()


async def test_waiting_ends_when_the_holder_ends(state, runtime, autojump_clock):
    first, second = Lock(state, runtime), Lock(state, runtime)
    first.take_nowait()
    heard: list[str] = []
    with trio.move_on_after(5) as patience:
        await second.take(heard.append)
    assert patience.cancelled_caught
    assert len(heard) > 10
    assert all(f"is in use (pid {os.getpid()}, since " in why for why in heard)
    first.close()
    assert await second.take()
    second.close()


def test_a_link_in_place_of_the_file_is_not_followed(state, runtime, tmp_path):
    (Path(state) / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Lock(state, runtime)
