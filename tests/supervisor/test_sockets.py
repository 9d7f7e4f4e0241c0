"""Doors: who may use them, what they replace, what they refuse, and that they come back."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from supervisor.sockets import MAX_PATH_BYTES, Door, Doors, UnsafePlace, access_list, check_parents, open_directory

AGENTS = Door("agents", "agents.sock")
FOREIGN = Door("foreign", "foreign/operator.sock", mode=0o666)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def doors(place):
    doors = Doors.open(str(place), [AGENTS, FOREIGN])
    yield doors
    doors.close()


def connects(path: Path, listener: socket.socket) -> bool:
    """Whether a client of the path arrives at this listener."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
            accepted, _ = listener.accept()
        except OSError:
            return False
        accepted.close()
        return True


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_doors_are_open_with_their_modes_in_a_directory_others_may_only_pass(doors, place):
    assert list(doors.listeners) == ["agents", "foreign"]
    assert connects(place / "agents.sock", doors.listeners["agents"])
    assert connects(place / "foreign/operator.sock", doors.listeners["foreign"])
    assert (mode_of(place), mode_of(place / "foreign")) == (0o711, 0o755)
    assert (mode_of(place / "agents.sock"), mode_of(place / "foreign/operator.sock")) == (0o600, 0o666)
    assert sorted(path.name for path in place.iterdir()) == ["agents.sock", "foreign"], "nothing half made is left"


def test_a_group_we_may_not_give_a_door_to_names_the_key_and_what_mends_it(place, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)  # what the kernel answers everybody but root
    door = Door("operator", "operator.sock", mode=0o660, gid=4242, group_key="gateway.unix.operatorGroup")
    with pytest.raises(UnsafePlace, match=r"gateway\.unix\.operatorGroup: operator\.sock .* group 4242.*name a group"):
        Doors.open(str(place), [door])
    assert list(place.iterdir()) == [], "nothing half made is left"


def test_modes_do_not_depend_on_the_umask_and_the_group_is_set(place):
    before = os.umask(0o077)
    try:
        doors = Doors.open(str(place), [Door("operator", "operator.sock", mode=0o660, gid=4242)])
    finally:
        os.umask(before)
    assert mode_of(place / "operator.sock") == 0o660
    assert (place / "operator.sock").stat().st_gid == 4242
    assert mode_of(place) == 0o711
    doors.close()


def test_a_stale_socket_is_replaced_and_its_connections_are_left_alone(doors, place):
    with socket.socket(socket.AF_UNIX) as early:
        early.connect(str(place / "agents.sock"))
        second = Doors.open(str(place), [AGENTS])
        assert connects(place / "agents.sock", second.listeners["agents"])
        accepted, _ = doors.listeners["agents"].accept()
        accepted.close()
    doors.close()
    assert (place / "agents.sock").exists(), "closing unlinks only what is ours"
    assert not (place / "foreign/operator.sock").exists()
    second.close()
    assert not (place / "agents.sock").exists()


def test_a_leftover_of_an_interrupted_start_is_cleared(place):
    place.mkdir()
    (place / ".agents.sock.new").touch()
    doors = Doors.open(str(place), [AGENTS])
    assert [path.name for path in place.iterdir()] == ["agents.sock"]
    doors.close()


def test_all_is_well_when_nothing_happened(doors):
    assert doors.check(pytest.fail) == []


def break_by_shutdown(doors, place):
    with socket.socket(fileno=os.dup(doors.listeners["agents"].fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


def break_by_unlinking(doors, place):
    (place / "agents.sock").unlink()


def break_by_replacing(doors, place):
    (place / "agents.sock").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place / "agents.sock"))


@pytest.mark.parametrize("harm", [break_by_shutdown, break_by_unlinking, break_by_replacing])
def test_a_door_that_was_broken_is_opened_again(doors, place, harm):
    harm(doors, place)
    assert doors.check(pytest.fail) == ["agents"]
    assert connects(place / "agents.sock", doors.listeners["agents"])
    assert doors.check(pytest.fail) == []


def test_doors_come_back_when_a_cleaner_removed_the_whole_directory(doors, place):
    shutil.rmtree(place)
    assert doors.check(pytest.fail) == ["agents", "foreign"]
    assert connects(place / "agents.sock", doors.listeners["agents"])


def test_a_path_no_client_could_use_is_refused_with_its_length_and_the_remedy(tmp_path):
    name = "d" * (MAX_PATH_BYTES - len(str(tmp_path)) - len("/agents.sock") - 1)
    Doors.open(str(tmp_path / name), [AGENTS]).close()
    with pytest.raises(UnsafePlace, match=r"has 108 bytes and clients can use 107; .*--runtime-dir"):
        Doors.open(str(tmp_path / (name + "d")), [AGENTS])


def test_a_symbolic_link_or_a_file_is_no_runtime_directory(tmp_path, place):
    place.symlink_to(tmp_path)
    with pytest.raises(UnsafePlace, match="symbolic link"):
        open_directory(str(place))
    place.unlink()
    place.touch()
    with pytest.raises(UnsafePlace, match="is a file"):
        open_directory(str(place))


def test_a_directory_others_can_write_to_is_refused_with_the_command_that_mends_it(place):
    place.mkdir()
    place.chmod(0o775)
    with pytest.raises(UnsafePlace, match=f"run: chmod go-w {place}"):
        open_directory(str(place))


def test_somebody_elses_directory_is_refused(place):
    place.mkdir()
    os.chown(place, 1000, 1000)
    with pytest.raises(UnsafePlace, match="belongs to uid 1000"):
        open_directory(str(place))


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_parent_others_can_write_to_is_refused(tmp_path, mode):
    parent = tmp_path / "loose"
    parent.mkdir()
    parent.chmod(mode)
    with pytest.raises(UnsafePlace, match="others"):
        open_directory(str(parent / "run"))
    parent.chmod(mode | stat.S_ISVTX)
    os.close(open_directory(str(parent / "run")))


def test_a_parent_of_another_user_is_refused(tmp_path):
    parent = tmp_path / "theirs"
    parent.mkdir()
    os.chown(parent, 1000, 1000)
    with pytest.raises(UnsafePlace, match="belongs to uid 1000, who could replace"):
        check_parents(str(parent))


def test_a_file_in_a_doors_place_is_not_removed(place):
    place.mkdir()
    (place / "agents.sock").write_text("precious")
    with pytest.raises(UnsafePlace, match="is no socket"):
        Doors.open(str(place), [FOREIGN, AGENTS])
    assert (place / "agents.sock").read_text() == "precious"
    assert not (place / "foreign/operator.sock").exists(), "what was opened before the failure is closed"


def test_an_access_list_is_what_the_kernel_reads_back(place):
    doors = Doors.open(str(place), [Door("operator", "operator.sock", mode=0o660, gid=4242, uids=(70_001, 70_000))])
    try:
        path = place / "operator.sock"
        kept = os.getxattr(path, "system.posix_acl_access")
        assert kept == access_list(0o660, (70_000, 70_001))
        assert len(kept) == 4 + 8 * 6, "owner, two uids, group, mask, others"
        assert (mode_of(path), path.stat().st_gid) == (0o660, 4242)
    finally:
        doors.close()


def test_where_there_are_no_access_lists_the_file_keeps_nobody_out(place, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no access lists here")

    monkeypatch.setattr(os, "setxattr", refuse)
    doors = Doors.open(str(place), [Door("operator", "operator.sock", mode=0o660, uids=(70_000,))])
    try:
        assert mode_of(place / "operator.sock") == 0o666
    finally:
        doors.close()
