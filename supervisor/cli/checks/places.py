"""Checks of the places on disk and of the configuration: whose they are, who may write them, whether they can be
used."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from supervisor.cli.checks.base import FAIL, OK, WARN, Check
from supervisor.cli.invocation import Invocation
from supervisor.cli.paths import AGENTS, OPERATOR

ROOM_BYTES = 256 * 1024 * 1024


def checks(run: Invocation) -> Iterator[Check]:
    """All of them."""
    yield from _configuration(run)
    yield _directory("state directory", run.state_dir, private=True)
    if os.path.isdir(run.state_dir):
        yield _room(run.state_dir)
    yield _directory("runtime directory", run.running_dir, private=False)
    if os.path.lexists(f"{run.running_dir}/{AGENTS}"):  # all the doors are made together
        yield _door(run.running_dir, OPERATOR, 0o660)
        yield _door(run.running_dir, AGENTS, 0o600)
    yield _code()


def _configuration(run: Invocation) -> Iterator[Check]:
    from gateway.config import ConfigError, load

    try:
        loaded = load(Path(run.config) if run.config else None, environ=run.environ)
    except ConfigError as error:
        found = "; ".join(str(problem) for problem in error.problems)
        yield Check("configuration", FAIL, found, "peergate config validate")
        return
    yield Check("configuration", OK, str(loaded.source) if loaded.source else "none: the defaults are used")
    for warning in loaded.warnings:
        yield Check("configuration", WARN, warning, "the system starts all the same; see that it is what you meant")
    agents = len(loaded.settings.agents.entries)
    if loaded.settings.supervisor.uids is None:
        fix = "as root, set supervisor.uids: then every agent has a uid of its own and cannot read another's files"
        yield Check("agents' uids", WARN, f"{agents} agents share uid {run.uid}: attribution, not a boundary", fix)
    else:
        yield Check("agents' uids", OK, f"each of {agents} agents has its own")


def _directory(name: str, path: str, *, private: bool) -> Check:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return Check(name, OK, f"{path} will be made when the system starts")
    except OSError as error:
        return Check(name, WARN, f"{path}: {error.strerror}", f"run this as the uid that runs peergate ({path})")
    mode = stat.S_IMODE(found.st_mode)
    told = f"{path} (uid {found.st_uid}, mode {mode:04o})"
    if not stat.S_ISDIR(found.st_mode):
        return Check(name, FAIL, f"{path} is no directory", "name another, or move what stands there away")
    if mode & 0o022:
        return Check(name, FAIL, f"{told}: others may write it", f"chmod go-w {path}")
    if private and mode & 0o077:
        return Check(name, WARN, f"{told}: others may look into it", f"chmod 700 {path}")
    if found.st_uid not in (0, os.geteuid()):
        return Check(
            name, WARN, f"{told}: it belongs to another uid", f"run peergate as uid {found.st_uid}, or name another"
        )
    return Check(name, OK, told)


def _door(directory: str, name: str, needed: int) -> Check:
    """`needed`: the mode without which somebody who may come in cannot. That more may connect is no matter: who comes
    in is decided behind the door."""
    path = f"{directory}/{name}"
    anew = f"rm -f {path}: a supervisor that runs opens it anew within seconds, as it must be"
    try:
        found, owner = os.lstat(path), os.stat(directory).st_uid
    except FileNotFoundError:
        return Check(name, FAIL, f"{path} is missing", "a supervisor that runs opens it again within seconds")
    mode = stat.S_IMODE(found.st_mode)
    told = f"{path} (uid {found.st_uid}, mode {mode:04o})"
    if not stat.S_ISSOCK(found.st_mode):
        return Check(name, FAIL, f"{path} is no socket", "move it away: a supervisor that runs opens the door again")
    if found.st_uid != owner:
        return Check(name, FAIL, f"{told}: it belongs to another uid than its directory ({owner})", anew)
    if mode & needed != needed:
        return Check(name, FAIL, f"{told}: its mode must be {needed:04o}, or it keeps out whom it is for", anew)
    return Check(name, OK, told)


def _room(path: str) -> Check:
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    enough = free >= ROOM_BYTES
    return Check(
        "disk",
        OK if enough else WARN,
        f"{free // 1024 // 1024} MiB free at {path}",
        "make room: a full disk refuses messages",
    )


def _code() -> Check:
    """What we run must be writable by nobody who is run by us."""
    from supervisor import trust

    roles = {os.path.dirname(os.path.dirname(os.path.abspath(trust.__file__))): "code"}
    verdicts = trust.check(roles, None, {})
    if not verdicts:
        return Check("code", OK, next(iter(roles)))
    status = FAIL if any(verdict.fatal for verdict in verdicts) else WARN
    return Check(
        "code",
        status,
        "; ".join(verdict.text for verdict in verdicts),
        "install peergate where only its owner and root may write",
    )
