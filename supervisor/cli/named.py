"""An agent or a session that is named and is not there: an error with those that are, where an empty list would hide a
misspelt name."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.protocol.keys import main_key
from supervisor.cli.asking import ask
from supervisor.cli.errors import CliError


def check_agent(doors: Sequence[str], name: str) -> None:
    """Raises CliError for an agent that is not configured."""
    known = [str(each.get("id")) for each in ask(doors, "agents.list").get("agents") or ()]
    if name.strip().lower() not in known:
        raise CliError(f"there is no agent {name}", fix=f"configured: {', '.join(sorted(known)) or 'none'}")


def check_session(doors: Sequence[str], key: str) -> None:
    """Raises CliError for a session there is not. A configured agent's main one may not have begun yet."""
    if not session_exists(doors, key):
        agent = key.split(":")[1]
        check_agent(doors, agent)
        if key != main_key(agent):
            raise no_session(doors, key)


def session_exists(doors: Sequence[str], key: str) -> bool:
    return ask(doors, "sessions.describe", {"key": key}).get("session") is not None


def no_session(doors: Sequence[str], key: str) -> CliError:
    """The error that there is no such session, with the nearest there are."""
    import difflib  # costs more than a short command should, and only mistakes need it

    known = [str(each.get("key")) for each in ask(doors, "sessions.list", {"limit": 1000}).get("sessions") or ()]
    near = difflib.get_close_matches(key, known, n=3)
    fix = f"the nearest: {', '.join(near)}" if near else "peergate sessions lists those there are"
    return CliError(f"there is no session {key}", fix=fix)
