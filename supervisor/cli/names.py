"""What a shell offers where an agent or a session is meant: the names the running system has.

Silent, and quick whatever happens: somebody who pressed a key waits for it. Nothing is asked over a network."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.errors import CliError, Unanswered
from supervisor.cli.invocation import Invocation

if TYPE_CHECKING:
    from supervisor.cli.remote import RemoteClient
    from supervisor.cli.wire import Client

SECONDS = 0.4
MAX_OFFERED = 200


def agents(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Agents whose names begin so."""
    return _offered(context, begun, _agents)


def sessions(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Agents, each for its main session, and keys of sessions. Not for bash, which breaks words at colons."""
    bash = os.environ.get("_PEERGATE_COMPLETE", "").startswith("bash")
    return _offered(context, begun, _agents if bash else _sessions)


def _agents(client: Client | RemoteClient) -> Iterable[Any]:
    told = client.call("agents.list", timeout=SECONDS)
    return [each.get("id") for each in told.get("agents") or ()]


def _sessions(client: Client | RemoteClient) -> Iterable[Any]:
    told = client.call("sessions.list", {"limit": MAX_OFFERED}, timeout=SECONDS)
    return [*_agents(client), *(each.get("key") for each in told.get("sessions") or ())]


def _offered(context: click.Context, begun: str, ask: Callable[[Client | RemoteClient], Iterable[Any]]) -> list[str]:
    from supervisor.cli.asking import open_client  # not for --help, which only names us

    run = context.ensure_object(Invocation)
    before = signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        if run.remote:
            return []
        with open_client(run.doors, hello_seconds=SECONDS) as client:
            names = [str(name) for name in ask(client)]
    except CliError:
        return []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return [name for name in names if name.startswith(begun) and name.isprintable()]


def _too_slow(*_: object) -> None:
    raise Unanswered("too slow to be offered")
