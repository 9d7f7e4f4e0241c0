"""Where a system lives when nobody says so: the runtime directory, the state directory, the configuration file.

Pure: the environment and the uid are arguments. Order everywhere: the flag, the PEERGATE_ variable, the default."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

SYSTEM_RUNTIME_DIR = "/run/peergate"
OPERATOR, AGENTS = "operator.sock", "agents.sock"
SOCKET_VARIABLE = "PEERGATE_SOCKET"
"""The agents' door, written by the supervisor into the environment of every worker."""


def runtime_dir(flag: str | None, environ: Mapping[str, str], uid: int) -> str:
    """Where `up` puts the sockets."""
    named = flag or environ.get("PEERGATE_RUNTIME_DIR")
    if named:
        return os.path.abspath(named)
    if uid == 0:
        return SYSTEM_RUNTIME_DIR
    base = environ.get("XDG_RUNTIME_DIR", "")
    # A relative one must be ignored (XDG Base Directory Specification 0.8).
    return f"{base.rstrip('/')}/peergate" if base.startswith("/") else f"/tmp/peergate-{uid}"


def state_dir(flag: str | None, environ: Mapping[str, str], uid: int) -> str:
    """Where the database, the lock and the log are."""
    named = flag or environ.get("PEERGATE_STATE_DIR")
    if named:
        return os.path.abspath(named)
    if uid == 0:
        return "/var/lib/peergate"
    base = environ.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):
        base = f"{environ.get('HOME') or os.path.expanduser('~')}/.local/state"
    return f"{base.rstrip('/')}/peergate"


def config_file(flag: str | None, environ: Mapping[str, str]) -> str | None:
    """The file that was named, or None: then the default places are searched by who reads it."""
    named = flag or environ.get("PEERGATE_CONFIG")
    return os.path.abspath(named) if named else None


def new_config_file(flag: str | None, environ: Mapping[str, str], uid: int) -> str:
    """Where `init` writes."""
    named = config_file(flag, environ)
    if named:
        return named
    if uid == 0:
        return "/etc/peergate/peergate.toml"
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):
        base = f"{environ.get('HOME') or os.path.expanduser('~')}/.config"
    return f"{base.rstrip('/')}/peergate/peergate.toml"


def running_dir(
    flag: str | None, environ: Mapping[str, str], uid: int, exists: Callable[[str], bool] = os.path.isdir
) -> str:
    """Where a command looks for a running system: the default, or root's system when this user runs none."""
    mine = runtime_dir(flag, environ, uid)
    named = flag or environ.get("PEERGATE_RUNTIME_DIR")
    if not named and not exists(mine) and exists(SYSTEM_RUNTIME_DIR):
        return SYSTEM_RUNTIME_DIR
    return mine


def doors(flag: str | None, environ: Mapping[str, str], uid: int) -> list[str]:
    """The sockets to try, in order: the one an agent was given, the operator's, the agents'.

    A directory named by the flag outranks the inherited socket: somebody inside an agent asked for another system."""
    directory = running_dir(flag, environ, uid)
    given = environ.get(SOCKET_VARIABLE)
    places = [os.path.abspath(given)] if given and not flag else []
    places += [f"{directory}/{OPERATOR}", f"{directory}/{AGENTS}"]
    return list(dict.fromkeys(places))
