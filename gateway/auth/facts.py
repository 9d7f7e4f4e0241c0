"""What the kernel says about a peer, and what the configuration says about uids: the material of `decide`. Pure."""

from __future__ import annotations

import msgspec


class PeerFacts(msgspec.Struct, frozen=True):
    """One peer, as of its connect. `pid` is 0 outside our PID namespace. `pidfd` belongs to whoever read the facts;
    `legacy` when it was opened by number because the kernel (before 6.5) does not hand one out. `nspid` are the numbers
    of the `NSpid` line, None when it could not be read. `start` is in clock ticks since boot."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    pidfd: int | None = None
    dead: bool = False
    nspid: tuple[int, ...] | None = None
    start: int = 0
    legacy: bool = False


class Policy(msgspec.Struct, frozen=True):
    """Which uids are whom. `foreign` maps a uid of another PID namespace to scopes. `agent_uids` are set aside for
    agents and never an operator's."""

    owner: int
    operators: frozenset[int] = frozenset()
    operator_gid: int | None = None
    foreign: dict[int, frozenset[str]] = msgspec.field(default_factory=dict)
    agent_uids: range = range(0)
