"""Whether the files we run from and write to are safe from those we run.

Owns: the start's refusal of unsafe paths. An interpreter started by us executes what lies in these places as the
supervisor's uid, so a place an agent can write is a way to become the supervisor. `judge` is pure over the facts that
`facts_about` reads."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from supervisor.settings import UidRange


@dataclass(frozen=True, slots=True)
class Place:
    """One file or directory as lstat sees it, and what it is to us: `code`, `configuration`, `state directory`, …"""

    path: str
    role: str
    mode: int
    uid: int
    gid: int
    is_parent: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a place and the command that mends it; `fatal` refuses the start."""

    text: str
    fatal: bool


def _parents(path: str) -> Iterator[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


def facts_about(path: str, role: str) -> list[Place]:
    """The place and all its parents, links resolved; what does not exist yet is left out."""
    real = os.path.realpath(path)
    places = []
    for one in (real, *_parents(real)):
        try:
            seen = os.lstat(one)
        except OSError:
            continue
        places.append(Place(one, role, seen.st_mode, seen.st_uid, seen.st_gid, one != real))
    return places


def _judge_one(place: Place, ours: frozenset[int], groups: frozenset[int], uids: UidRange | None) -> Verdict | None:
    mode = stat.S_IMODE(place.mode)
    shared = place.is_parent and bool(
        mode & stat.S_ISVTX
    )  # what stands in a sticky directory only its owner can replace
    where = f"{place.path} ({place.role}{', a parent' if place.is_parent else ''})"
    if uids is not None and place.uid in uids:
        return Verdict(f"{where} belongs to uid {place.uid}, an agent's: chown {min(ours)} {place.path}", True)
    if mode & 0o002 and not shared:
        return Verdict(f"{where} can be written by everybody (mode {mode:04o}): chmod o-w {place.path}", True)
    if mode & 0o020 and not shared and uids is not None and place.gid == uids.gid:
        return Verdict(f"{where} can be written by the agents' group {place.gid}: chmod g-w {place.path}", True)
    if mode & 0o020 and not shared and place.gid not in groups:
        return Verdict(f"{where} can be written by group {place.gid}: chmod g-w {place.path}", False)
    if place.uid not in ours:
        return Verdict(f"{where} belongs to uid {place.uid}, which can change it", False)
    return None


def judge(
    places: Iterable[Place], *, uid: int, gid: int, uids: UidRange | None, workspaces: dict[str, str]
) -> list[Verdict]:
    """Everything wrong with these places for a supervisor of this uid and gid. `workspaces` maps an agent to the real
    path it may write."""
    ours, groups = frozenset({0, uid}), frozenset({0, gid})
    verdicts: dict[str, Verdict] = {}
    for place in places:
        verdict = _judge_one(place, ours, groups, uids)
        if verdict is not None:
            verdicts.setdefault(place.path, verdict)
        for agent, workspace in workspaces.items():
            inside = place.path == workspace or place.path.startswith(workspace.rstrip("/") + "/")
            if inside and not place.is_parent:
                text = f"{place.path} ({place.role}) lies inside {workspace}, the workspace of agent {agent}"
                verdicts[f"{place.path}\0{agent}"] = Verdict(f"{text}, which can change it: move one of them", True)
    return list(verdicts.values())


def check(roles: dict[str, str], uids: UidRange | None, workspaces: dict[str, str | None]) -> list[Verdict]:
    """`judge` over the file system. `roles` maps a path to what it is to us; a workspace of None is no rule."""
    places = [place for path, role in roles.items() for place in facts_about(path, role)]
    real = {agent: os.path.realpath(path) for agent, path in workspaces.items() if path}
    return judge(places, uid=os.geteuid(), gid=os.getegid(), uids=uids, workspaces=real)
