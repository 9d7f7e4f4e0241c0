"""What a person may write where a session or a run is meant."""

from __future__ import annotations

from gateway.protocol.keys import is_agent_id, main_key, parse_key
from supervisor.cli.errors import Usage


def session_key(text: str) -> str:
    """A session's key: written out (`agent:main:main`), or an agent's name for its main session. Raises Usage."""
    key = parse_key(text)
    if key is not None:
        return str(key)
    if is_agent_id(text):
        return main_key(text)
    raise Usage(
        f'"{text}" names neither an agent nor a session',
        fix="an agent looks like main, a session like agent:main:main; see peergate sessions",
    )
