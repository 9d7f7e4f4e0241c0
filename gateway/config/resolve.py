"""The configuration with the host's names resolved, as the one JSON document the supervisor reads.

Owns what the supervisor is told (its shape stands in `document.py`), and the check that an agent's uid belongs to
nobody else on this host."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, structs

from gateway.config.agent_settings import Limits
from gateway.config.document import AgentPart, Operators, OuterDoor, Resolved, SupervisorPart
from gateway.config.loader import Loaded
from gateway.config.problem import ConfigError, Problem, did_you_mean
from gateway.config.rules import OVERFLOW_UID, taken_problems
from gateway.config.section import Scope
from gateway.config.settings import Settings

OPERATOR: tuple[Scope, ...] = ("operator.read", "operator.write")
"""What the word `operator` gives a foreign uid; more must be named scope by scope."""
_LIMITS = Limits.__struct_encode_fields__


class Host(Struct, frozen=True):
    """Who exists on this machine. `sub_ids` are the ranges of subuid(5): first, count, whose."""

    users: dict[str, int]
    groups: dict[str, int]
    sub_ids: tuple[tuple[int, int, str], ...]
    owner_uid: int
    owner_gid: int


def resolve(loaded: Loaded, host: Host) -> Resolved:
    """The document for one host. Raises ConfigError for unknown names and for agents' uids that belong to somebody."""
    unix, problems = loaded.settings.gateway.unix, list[Problem]()
    uids = [
        _number(name, f"gateway.unix.operators[{index}]", host.users, "user", problems)
        for index, name in enumerate(unix.operators)
    ]
    gid = unix.operator_group
    if gid is not None:
        gid = _number(gid, "gateway.unix.operatorGroup", host.groups, "group", problems)
    problems += _host_problems(loaded.settings, uids, gid, host)
    if problems:
        origin = str(loaded.source or "")
        raise ConfigError([structs.replace(problem, origin=origin) for problem in problems])
    part = _supervisor_part(loaded.settings, Operators(uids=tuple(dict.fromkeys(uids)), gid=gid))
    source = str(loaded.source) if loaded.source else None
    return Resolved(source=source, warnings=loaded.warnings, supervisor=part, settings=loaded.settings)


def _number(name: int | str, path: str, known: dict[str, int], kind: str, problems: list[Problem]) -> int:
    if isinstance(name, int):
        return name
    number = known.get(name)
    if number is None:
        hint = did_you_mean(name, known)
        problems.append(Problem(path, f'"{name}"', f"a {kind} of this machine, or a number", hint))
    elif number == OVERFLOW_UID:
        problems.append(
            Problem(path, f'"{name}" ({number})', f"a {kind} that is somebody", "the overflow id is anybody")
        )
    return -1 if number is None else number


def _host_problems(settings: Settings, operators: list[int], gid: int | None, host: Host) -> Iterator[Problem]:
    """Attacks through a uid that two parties share, and through the group that guards the operator's socket."""
    uids = settings.supervisor.uids
    if uids is None:
        return
    taken = {uid: f"account {name}" for name, uid in host.users.items()}
    taken |= {uid: "an operator" for uid in operators} | {host.owner_uid: "the owner"}
    for first, count, name in host.sub_ids:
        met = range(max(first, uids.members.start), min(first + count, uids.members.stop))
        taken |= {uid: f"subordinate ids of {name}" for uid in met[:1]}
    yield from taken_problems(uids, taken)
    if uids.gid in (gid, host.owner_gid):
        whose = "the operator group" if uids.gid == gid else "the owner's own group"
        yield Problem("supervisor.uids.gid", f"{uids.gid} ({whose})", "a group that opens no door")


def _supervisor_part(settings: Settings, operators: Operators) -> SupervisorPart:
    mine, gateway = settings.supervisor, settings.gateway
    return SupervisorPart(
        spawn_method=mine.spawn.method,
        warm_spares=mine.spawn.warm_spares,
        stop_seconds=mine.stop_seconds,
        cgroup=mine.cgroup,
        heartbeat_seconds=mine.heartbeat_seconds,
        gateway=OuterDoor(bind=gateway.bind, port=gateway.port, custom_bind_host=gateway.custom_hosts),
        operators=operators,
        foreign={uid: OPERATOR if isinstance(may, str) else may for uid, may in gateway.unix.foreign.items()},
        uids=mine.uids,
        output=mine.output,
        logging=settings.logging,
        agents={agent_id: _agent_part(settings, agent_id) for agent_id in settings.agents.entries},
    )


def _agent_part(settings: Settings, agent_id: str) -> AgentPart:
    agent = settings.agents.entries[agent_id]
    return AgentPart(
        runtime=agent.runtime,
        cwd=settings.cwd_of(agent_id),
        workspace=settings.workspace_of(agent_id),
        env=agent.env,
        limits=settings.limits_of(agent_id),
        limit_keys={name: settings.limit_key(agent_id, name) for name in _LIMITS},
        subprocess_gateway=settings.subprocess_gateway_of(agent_id),
        idle_seconds=settings.agents.defaults.idle_seconds,
    )


def read_host(settings: Settings) -> Host:
    """The accounts of this machine. Names in the settings are asked for one by one: a directory service may answer for
    an account that it does not list."""
    users = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    groups = {entry.gr_name: entry.gr_gid for entry in grp.getgrall()}
    unix = settings.gateway.unix
    _look_up(users, unix.operators, lambda name: pwd.getpwnam(name).pw_uid)
    _look_up(groups, (unix.operator_group,), lambda name: grp.getgrnam(name).gr_gid)
    return Host(users, groups, tuple(sub_ids(Path("/etc/subuid"))), os.geteuid(), os.getegid())


def _look_up(known: dict[str, int], names: tuple[int | str | None, ...], number_of: Callable[[str], int]) -> None:
    for name in names:
        if isinstance(name, str) and name not in known:
            with suppress(KeyError):  # the check names it
                known[name] = number_of(name)


def sub_ids(path: Path) -> Iterator[tuple[int, int, str]]:
    """The ranges in a subuid(5) file: first, count, whose. No file means none; a line that is no range is skipped."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        name, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if first.isdecimal() and count.isdecimal():
            yield int(first), int(count), name
