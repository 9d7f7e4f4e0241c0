"""Every message the supervisor exchanges with the processes it starts, and how it travels. Pure, standard library only.

Each travels as one JSON datagram on a SOCK_SEQPACKET socketpair inherited at birth; the descriptor itself is the
identity of whoever holds it. Descriptors ride along by SCM_RIGHTS where a class says so.

Three channels: *control* supervisor <-> gateway, *lifeline* supervisor <-> worker, *factory* supervisor <-> zygote.
A peer that sends something else is broken: `decode` raises `BadMessage` and its channel is closed."""

from __future__ import annotations

import json
from typing import Any, ClassVar, NoReturn, dataclass_transform

MAX_MESSAGE_BYTES = 160 * 1024
"""Below the default socket buffer (212,992 bytes), so that one datagram always fits an empty queue."""
ROWS_PER_MESSAGE = 200
"""Long tables are sent in pieces of this many rows; `last` marks the last piece."""
REASONS_PER_MESSAGE = 20
"""The same for reasons of a quarantine: a character outside the basic plane takes 12 bytes, escaped."""
MAX_REASON_CHARS = 500

OUTER_PREFIX = "outer:"
"""The name of a TCP door is this and its number; every other door is a Unix socket."""


class BadMessage(ValueError):
    """Not one of our messages."""


@dataclass_transform(frozen_default=True)
class Message:
    """Base of all messages: as frozen dataclasses, which are not used because they write and compile source for each
    class, 20 ms of every process' start. A default is a value that cannot be changed, or a list, copied for each."""

    fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        cls.fields = tuple(cls.__annotations__)
        cls.__match_args__ = cls.fields  # type: ignore[attr-defined, misc]  # which mypy takes for done already
        cls._defaults = {name: vars(cls)[name] for name in cls.fields if name in vars(cls)}

    def __init__(self, *values: Any, **named: Any) -> None:
        told = {name: [*value] if isinstance(value, list) else value for name, value in self._defaults.items()}
        told |= {**dict(zip(self.fields, values, strict=False)), **named}
        if len(values) > len(self.fields) or told.keys() ^ self.fields:
            raise TypeError(f"{type(self).__name__} has {self.fields}, not {values} and {named}")
        vars(self).update(told)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a message does not change: {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


# --- control: supervisor -> gateway -------------------------------------------------------------------------------


class Take(Message):
    """Start serving. Descriptors: one listening socket per name in `doors`, then a memfd with the resolved
    configuration (the JSON document `gateway.config --resolve` printed). The Unix doors are `agents`, `operator` and
    `foreign`, the TCP ones `outer:0` and so on. `marks` is how many seccomp filters the supervisor itself has."""

    generation: int
    doors: list[str]
    state_dir: str
    runtime_dir: str
    supervisor_pid: int
    log_file: str | None
    marks: int = 0
    started: float = 0.0


class Live(Message):
    """Workers that are alive as the gateway starts, and the agents in quarantine with the reason; follows Take. Rows:
    {spawn, agent, session, pid, start, quarantine}."""

    rows: list[dict[str, Any]]
    quarantined: dict[str, str]
    last: bool = True


class Spawned(Message):
    """Answer to Spawn: the worker process exists and is being bound; it will connect."""

    id: int
    spawn: str
    pid: int
    start: int


class SpawnFailed(Message):
    """Answer to Spawn: there will be no worker. `quarantined` when the agent is held; else trying again later may
    work."""

    id: int
    reason: str
    quarantined: bool = False
    retry_ms: int = 1000


class Exited(Message):
    """A worker ended and its whole tree is gone. Exactly one of `code` and `signal` is set."""

    spawn: str
    agent: str
    session: str
    code: int | None
    signal: int | None
    reason: str = ""


class Identity(Message):
    """Answer to Whois. `kind`: worker (the process itself), tool (descends from that worker), ours (supervisor,
    zygote, a gateway, or something of ours that no worker answers for), dead, none (no descendant of the supervisor,
    no mark of ours)."""

    id: int
    kind: str
    spawn: str = ""
    agent: str = ""
    session: str = ""
    start: int = 0
    detail: str = ""
    subprocess_gateway: bool = True


class Claimed(Message):
    """Answer to Claim: whether that was the one ticket the worker had; it is burned either way."""

    id: int
    ok: bool
    reason: str = ""


class Held(Message):
    """Answer to WhoHolds. `kind`: remote (the peer's address is none of this host's), outside (held by processes that
    are not ours), ours (one that we started holds it, alone or with others), unknown (nobody was found, or it cannot
    be told). Ours and unknown are refused whatever they proved; the others gain nothing by it.

    `uid` is the account an outside socket belongs to, -1 where that says nothing of who is behind it. `cookie` is the
    kernel's name for the socket, never used again: an answer with another cookie is about another socket."""

    id: int
    kind: str
    uid: int = -1
    pids: list[int] = []  # noqa: RUF012  # copied for each
    cookie: str = ""
    agent: str = ""
    session: str = ""
    detail: str = ""


class ProcessTable(Message):
    """Answer to Processes; rows as `gateway.protocol.calls.system.Process`, camelCase."""

    id: int
    rows: list[dict[str, Any]]
    last: bool = True


class Quarantined(Message):
    """An agent is held (`on`) or released."""

    agent: str
    on: bool
    reason: str


class Reload(Message):
    """New configuration, already validated. Descriptor: a memfd as in Take."""


class Drain(Message):
    """Accept no new work; running calls may finish. Comes before Retire when the system stops."""

    reason: str


class Retire(Message):
    """Stop reading, flush, close the database, answer Retired, exit 0. The listening sockets are not shut down, only
    closed."""

    reason: str


class Notice(Message):
    """Something an operator should know; becomes the event `notice`."""

    level: str
    code: str
    text: str
    agent: str = ""
    session: str = ""
    fix: str = ""


# --- control: gateway -> supervisor -------------------------------------------------------------------------------


class Ready(Message):
    """The database is open, the epoch is raised, the doors are being accepted from."""

    generation: int
    epoch: int


class Beat(Message):
    """The event loop turns. Sizes in bytes. On a lifeline: from a thread, `connected` tells whether the gateway is
    reachable."""

    rss: int = 0
    pss: int = 0
    descriptors: int = 0
    connected: bool = True
    status: str = ""


class Spawn(Message):
    """A worker for this session, please."""

    id: int
    agent: str
    session: str


class Whois(Message):
    """Who is this peer? Descriptors: its pidfd, if the kernel gave one; else `pid` counts (kernels before 6.5)."""

    id: int
    pid: int
    has_pidfd: bool = True


class WhoHolds(Message):
    """Who holds the other end of this TCP connection? `local` is our end (getsockname), `remote` the peer's
    (getpeername)."""

    id: int
    local_host: str
    local_port: int
    remote_host: str
    remote_port: int


class Claim(Message):
    """This connection, already recognised as the worker `spawn`, showed this ticket."""

    id: int
    spawn: str
    ticket: str


class StopWorker(Message):
    """End one worker: SIGTERM, after `grace` seconds its tree is killed; 0 kills at once."""

    spawn: str
    reason: str
    grace: float = 4.0


class Hold(Message):
    """Quarantine (`on`) or release an agent, as an operator asked."""

    agent: str
    on: bool
    reason: str


class Processes(Message):
    """The process table, please."""

    id: int


class Retired(Message):
    """The database is closed; a successor may open it."""

    generation: int


# --- lifeline: supervisor <-> worker ------------------------------------------------------------------------------


class Assign(Message):
    """Who this process is from now on. Read before anything else; a spare waits for it. `ticket` opens the agents
    door once.

    `runtime` is the agent's runtime as configured. `uid`/`gid` are None when everybody shares one uid. `limits` are
    the configured ones, `limit_keys` says of each there is where it is written, or would be; None from a supervisor
    that does not know."""

    spawn: str
    agent: str
    session: str
    socket: str
    ticket: str
    runtime: dict[str, Any]
    env: dict[str, str]
    cwd: str | None
    limits: dict[str, int]
    uid: int | None = None
    gid: int | None = None
    idle_seconds: float = 60.0
    heartbeat_seconds: float = 5.0
    limit_keys: dict[str, str] | None = None


class TicketPlease(Message):
    """Worker -> supervisor: I must connect again; a fresh ticket."""


class Ticket(Message):
    """Supervisor -> worker: good for one connect within `expires_in` seconds."""

    value: str
    expires_in: float = 30.0


class Born(Message):
    """Worker -> supervisor: the child sequence is through; waiting for Assign. (Beat travels on lifelines too.)"""

    pid: int


# --- factory: supervisor <-> zygote -------------------------------------------------------------------------------


class Fork(Message):
    """Fork a process. Descriptors, in order: its channel (lifeline or control), its output pipe, the acknowledgement
    pipe: the intermediate process exits only when that one is readable or closed, so that the pidfd arrives while the
    pid is pinned.

    `kind` is worker or gateway and selects the target the zygote was started with."""

    id: int
    kind: str
    supervisor: int


class Forked(Message):
    """From the intermediate process. Descriptor: the child's pidfd."""

    id: int
    pid: int


class ForkFailed(Message):
    """The kernel refused; `error` is its words."""

    id: int
    error: str


class FactoryReady(Message):
    """The zygote has imported its targets, frozen the collector and waits."""

    pid: int


_TYPES: dict[str, type[Message]] = {cls.__name__: cls for cls in Message.__subclasses__()}


def encode(message: Message) -> bytes:
    """One datagram. Raises BadMessage if it would not fit."""
    data = json.dumps({"t": type(message).__name__, **vars(message)}, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE_BYTES:
        raise BadMessage(f"{type(message).__name__} of {len(data)} bytes, at most {MAX_MESSAGE_BYTES} fit")
    return data


def decode(data: bytes) -> Message:
    """The message in one datagram. Raises BadMessage for anything else."""
    try:
        values = json.loads(data)
        cls = _TYPES[values.pop("t")]
        return cls(**values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadMessage(f"not a message of ours: {error}") from None
