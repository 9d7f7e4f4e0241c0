"""Which places refuse the start, as a table; and the same through the real file system."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from supervisor.settings import UidRange
from supervisor.trust import Place, check, facts_about, judge

DIRECTORY, FILE, STICKY = stat.S_IFDIR, stat.S_IFREG, stat.S_ISVTX
AGENTS = UidRange(first=61_000, count=10, gid=61_000)
OURS, OTHER, AGENT = 1000, 1001, 61_003


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "is_parent", "uids", "fatal"),
    [
        (FILE | 0o644, OURS, OURS, False, None, None),
        (FILE | 0o644, 0, 0, False, None, None),
        (FILE | 0o666, OURS, OURS, False, None, True),
        (DIRECTORY | 0o777, 0, 0, True, None, True),
        (DIRECTORY | STICKY | 0o777, 0, 0, True, None, None),
        (DIRECTORY | STICKY | 0o777, OURS, OURS, False, None, True),
        (DIRECTORY | 0o775, OURS, OURS, True, None, None),  # a group of one's own, as many distributions give
        (DIRECTORY | 0o775, OURS, 0, True, None, None),
        (DIRECTORY | 0o775, OURS, 50, True, None, False),
        (DIRECTORY | 0o775, OURS, AGENTS.gid, True, AGENTS, True),
        (DIRECTORY | 0o755, OURS, AGENTS.gid, True, AGENTS, None),
        (DIRECTORY | 0o755, OTHER, OTHER, True, None, False),
        (DIRECTORY | 0o755, AGENT, OTHER, True, None, False),
        (DIRECTORY | 0o755, AGENT, OTHER, True, AGENTS, True),
    ],
)
def test_what_a_place_is_worth(mode, uid, gid, is_parent, uids, fatal):
    place = Place("/srv/x", "our code", mode, uid, gid, is_parent)
    verdicts = judge([place], uid=OURS, gid=OURS, uids=uids, workspaces={})
    assert [verdict.fatal for verdict in verdicts] == ([] if fatal is None else [fatal])


@pytest.mark.parametrize(
    ("path", "workspace", "refused"),
    [
        ("/srv/work/config", "/srv/work", True),
        ("/srv/work", "/srv/work", True),
        ("/srv/work", "/srv/work/agent", False),
        ("/srv/workshop", "/srv/work", False),
        ("/srv/x", "/", True),
    ],
)
def test_nothing_of_ours_lies_where_an_agent_works(path, workspace, refused):
    places = [Place(path, "the configuration", FILE | 0o600, OURS, OURS)]
    verdicts = judge(places, uid=OURS, gid=OURS, uids=None, workspaces={"main": workspace})
    assert [verdict.fatal for verdict in verdicts] == [True] * refused
    assert all("agent main" in verdict.text for verdict in verdicts)


def test_links_are_followed_and_parents_count(tmp_path: Path):
    tmp_path.chmod(0o777)
    (tmp_path / "real").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    assert [place.path for place in facts_about(str(link), "x")][:2] == [str(tmp_path / "real"), str(tmp_path)]
    (verdict,) = [verdict for verdict in check({str(link): "x"}, None, {}) if verdict.fatal]
    assert f"chmod o-w {tmp_path}" in verdict.text


def test_a_workspace_is_compared_by_where_it_really_is(tmp_path: Path):
    tmp_path.chmod(0o700)
    (tmp_path / "link").symlink_to(tmp_path)
    verdicts = check({str(tmp_path / "state"): "x", str(tmp_path): "y"}, None, {"a": str(tmp_path / "link"), "b": None})
    assert [verdict.text for verdict in verdicts if "workspace" in verdict.text]


def test_what_does_not_exist_yet_is_judged_by_its_parents(tmp_path: Path):
    assert facts_about(str(tmp_path / "a" / "b"), "x")[0].path == str(tmp_path)
    assert Path(facts_about(".", "x")[0].path).is_absolute()
