"""A configuration an agent could rewrite stops the start where agents have uids of their own, and is told where not."""

import stat
from pathlib import Path

import pytest

from gateway.config import ConfigError, load
from gateway.config.exposure import writable_by
from gateway.config.settings import UidRange

AGENTS = UidRange(first=70000, count=10, gid=70000)
FILE, DIRECTORY = stat.S_IFREG, stat.S_IFDIR


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "exposed"),
    [
        (FILE | 0o600, 0, 0, False),
        (FILE | 0o644, 0, 0, False),
        (FILE | 0o666, 0, 0, True),
        (FILE | 0o660, 0, 70000, True),
        (FILE | 0o640, 0, 70000, False),
        (FILE | 0o660, 0, 4, False),
        (FILE | 0o400, 70009, 0, True),
        (FILE | 0o400, 70010, 0, False),
        (DIRECTORY | 0o777, 0, 0, True),
        (DIRECTORY | 0o1777, 0, 0, False),
        (DIRECTORY | 0o1777, 70000, 0, True),
        (DIRECTORY | 0o1775, 0, 70000, False),
        (FILE | 0o1666, 0, 0, True),
    ],
)
def test_who_may_write_what(mode, uid, gid, exposed):
    assert writable_by(mode, uid, gid, AGENTS) is exposed


UIDS = "[supervisor.uids]\nfirst = 70000\ncount = 4\ngid = 70000\n"


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "peergate.toml"
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_a_file_behind_closed_directories_is_fine(tmp_path):
    assert load(write(tmp_path, UIDS), environ={}, root=tmp_path).warnings == ()


def test_a_directory_open_to_all_on_the_way_stops_the_start(tmp_path):
    inside = tmp_path / "open" / "closed"
    inside.mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match=r"/open may be written by an agent's uid") as caught:
        load(write(inside, UIDS), environ={}, root=tmp_path)
    assert len(caught.value.problems) == 1


def test_a_link_does_not_hide_where_the_file_is(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    write(tmp_path / "open", UIDS)
    (tmp_path / "link.toml").symlink_to(tmp_path / "open" / "peergate.toml")
    with pytest.raises(ConfigError, match="may be written"):
        load(tmp_path / "link.toml", environ={}, root=tmp_path)


def test_a_file_in_an_agents_workspace_is_told_with_one_uid_and_refused_with_many(tmp_path):
    workspace = f"[agents.entries.a]\nworkspace = '{tmp_path}'\n"
    [warning] = load(write(tmp_path, workspace), environ={}, root=tmp_path).warnings
    assert "lies in the workspace of agent a" in warning
    with pytest.raises(ConfigError, match="workspace of agent a"):
        load(write(tmp_path, workspace + UIDS), environ={}, root=tmp_path)
