"""Asking the running system: which door, how often again, and what to say when nobody answers.

Owns the rule of resending: reads and calls that carry an idempotency key are sent again after the gateway died in the
middle; the key makes that the same call. Other calls are sent once."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from supervisor.cli.address import RemoteDoor, Unreachable, is_remote
from supervisor.cli.errors import CliError, ConnectionLost, HelloRefused, NotAllowed, NotRunning, UidRefused, Unanswered
from supervisor.cli.paths import AGENTS, OPERATOR
from supervisor.cli.snapshot import gateway_words
from supervisor.cli.wire import HELLO_SECONDS, Client, dial

if TYPE_CHECKING:
    from supervisor.cli.remote import RemoteClient

READ_PATIENCE = HELLO_SECONDS
WRITE_PATIENCE = 30.0
"""Seconds a write is tried again: longer than a gateway needs to start on a loaded machine."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


def new_key() -> str:
    """An idempotency key for one effect."""
    return os.urandom(16).hex()


def open_client(
    doors: Sequence[str], *, events: bool = False, hello_seconds: float = HELLO_SECONDS
) -> Client | RemoteClient:
    """A client that has said hello at the first door which lets us in. Raises the most telling of their errors."""
    client, _ = _first_door(doors, None, events=events, hello_seconds=hello_seconds)
    return client


def ask_once(
    doors: Sequence[str],
    method: str,
    params: Mapping[str, Any],
    *,
    timeout: float | None = 30.0,
    hello_seconds: float = HELLO_SECONDS,
) -> Any:
    """One call at the first door which lets us in, greeting and call in one write."""
    client, payload = _first_door(doors, (method, params, timeout), hello_seconds=hello_seconds)
    client.close()
    return payload


def ask(
    doors: Sequence[str],
    method: str,
    params: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = 30.0,
    patience: float = READ_PATIENCE,
) -> Any:
    """A call that may be repeated, repeated for `patience` seconds when the gateway goes away before it has answered.

    The first try needs a system that is there; later ones also wait for a supervisor that is being started again."""
    until, pause = time.monotonic() + patience, _FIRST_PAUSE
    trouble: NotRunning | None = None
    while True:
        left = max(HELLO_SECONDS, until - time.monotonic())
        try:
            return ask_once(doors, method, params or {}, timeout=timeout, hello_seconds=left)
        except (ConnectionLost, Unanswered) as error:
            trouble = error
        except NotRunning as error:
            if trouble is None and not is_remote(doors):
                raise
            if trouble is None:
                raise _told(error, doors) from None
            trouble = error
        if time.monotonic() + pause >= until:
            unanswered = _told(trouble, doors)
            unanswered.key = (params or {}).get("idempotencyKey")
            raise unanswered
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 2)


def ask_with_key(doors: Sequence[str], method: str, params: Mapping[str, Any], *, timeout: float = 30.0) -> Any:
    """A write: it gets an idempotency key unless it has one, and is sent again with it until it is answered, no longer
    than `timeout` seconds."""
    keyed = {"idempotencyKey": new_key(), **params}
    return ask(doors, method, keyed, timeout=timeout, patience=min(WRITE_PATIENCE, timeout))


def use_tool(
    doors: Sequence[str],
    name: str,
    args: Mapping[str, Any],
    *,
    session: str | None = None,
    key: str | None = None,
    timeout: float = 60.0,
) -> dict[str, Any]:
    """A session tool's result. The acting session is the principal's; only an operator names one. `key`: that of a call
    which is made again."""
    params: dict[str, Any] = {"name": name, "args": {name: value for name, value in args.items() if value is not None}}
    if session is not None:
        params["sessionKey"] = session
    if key is not None:
        params["idempotencyKey"] = key
    result = ask_with_key(doors, "tools.invoke", params, timeout=timeout)
    return result if isinstance(result, dict) else {"result": result}


def ask_as(
    doors: Sequence[str], operator: tuple[str, Mapping[str, Any]], tool: tuple[str, Mapping[str, Any]]
) -> tuple[Any, bool]:
    """A read that an operator does by its row and a process inside an agent by the session tool of the same meaning.

    The payload, and whether it is the tool's. Which of the two we are is what the gateway said at hello."""
    client, _ = _first_door(doors, None)
    with client:
        inside = client.principal.get("kind") in ("tool", "worker")
        if not inside:
            return client.call(operator[0], operator[1]), False
        return client.call("tools.invoke", {"name": tool[0], "args": dict(tool[1])}), True


def _first_door(
    doors: Sequence[str],
    call: tuple[str, Mapping[str, Any], float | None] | None,
    *,
    events: bool = False,
    hello_seconds: float = HELLO_SECONDS,
) -> tuple[Client | RemoteClient, Any]:
    """Try the doors in order. A refused hello means that nothing behind it was carried out, so the next may be
    tried."""
    errors: dict[str, CliError] = {}
    for door in doors:
        try:
            client = _client_at(door, events=events, hello_seconds=hello_seconds)
        except (NotRunning, NotAllowed) as error:
            errors[door] = error
            continue
        try:
            payload = client.call(call[0], call[1], timeout=call[2]) if call else client.greet()
        except BaseException as error:
            client.close()
            if not isinstance(error, HelloRefused):
                raise
            errors[door] = error
            if own := _own_trouble(door, errors):
                raise own from None
            continue
        return client, payload
    raise _most_telling([*errors.values()])


def _client_at(door: str, *, events: bool, hello_seconds: float) -> Client | RemoteClient:
    if isinstance(door, RemoteDoor):
        from supervisor.cli.remote import RemoteClient  # Trio, TLS and a key, which a Unix door does without

        return RemoteClient(door, events=events)
    return Client(dial(door), events=events, hello_seconds=hello_seconds)


def _own_trouble(door: str, errors: Mapping[str, CliError]) -> CliError | None:
    """What an operator is to be told when the agents' door sends them away, which it must: what is wrong with their
    own, beside it, where that is not open."""
    operators = os.path.join(os.path.dirname(door), OPERATOR)
    trouble = errors.get(operators) if os.path.basename(door) == AGENTS else None
    if isinstance(trouble, UidRefused):
        return trouble
    if type(trouble) is NotRunning:
        return Unanswered(
            f"{operators} is not open though the system runs; its supervisor opens it again within seconds",
            fix="try again; where it stays away: peergate doctor",
        )
    return None


def _most_telling(errors: Sequence[CliError]) -> CliError:
    """A refusal says more than an absence, the first absence more than the later ones."""
    ranked = (HelloRefused, NotAllowed, Unanswered, NotRunning)
    return next(error for kind in ranked for error in errors if isinstance(error, kind))


def _told(trouble: NotRunning, doors: Sequence[str]) -> CliError:
    """The same trouble with what the supervisor last wrote about the gateway; of a system elsewhere nothing more is
    known, and what is on this machine is not about it."""
    if is_remote(doors):
        return Unreachable(trouble.message, fix=trouble.fix)
    words = gateway_words(doors)
    if words is None:
        return trouble
    fix = trouble.fix if isinstance(trouble, Unanswered) else None
    return type(trouble)(f"{trouble.message}: {words}", fix=fix or "peergate logs; peergate ps")
