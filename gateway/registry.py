"""Who holds how many connections, and which of them belong to which worker.

Owns the two numbers that keep one peer from using up the gateway: connections at once, and connects per second. A
worker and everything it starts share one budget; all operators together have another. When a worker ends, `end_worker`
ends its connections, and only the newest ticketed connection of a worker stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.auth.principal import Kind, Principal
from gateway.protocol.errors import CloseReason
from gateway.protocol.limits import (
    CONNECT_BURST,
    CONNECTS_PER_SECOND,
    FLOOD_CONNECTS,
    MAX_CONNECTIONS_PER_PRINCIPAL,
    MAX_OPERATOR_CONNECTIONS,
)


class Ending(Protocol):
    """What the registry needs of a connection."""

    def end(self, reason: CloseReason, detail: str = "") -> None:
        """End it. Never waits, never raises."""
        ...

    def retire(self) -> None:
        """Read no more, answer what is being worked at, end."""
        ...


class TooMany(Exception):
    """This budget is used up; says which and what it is."""


class _Budget:
    """One budget: its connections, a token bucket of connects, and how many were turned away since it was last idle.
    Time is an argument, in seconds."""

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self.members: set[Ending] = set()
        self.tokens = float(CONNECT_BURST)
        self.turned_away = 0
        self.filled_at = now

    def take_token(self, now: float) -> bool:
        self.tokens = min(CONNECT_BURST, self.tokens + (now - self.filled_at) * CONNECTS_PER_SECOND)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def is_idle(self, now: float) -> bool:
        """Nothing is remembered that a new budget would not have."""
        return not self.members and self.tokens + (now - self.filled_at) * CONNECTS_PER_SECOND >= CONNECT_BURST


class Registry:
    """All connections that know who they are. `flooded` is told once when a worker or what it started has been turned
    away FLOOD_CONNECTS times: whoever takes no for an answer so badly is broken or hostile."""

    def __init__(self, flooded: Callable[[Principal], None] = lambda principal: None) -> None:
        self._flooded = flooded
        self._budgets: dict[str, _Budget] = {}
        self._workers: dict[str, Ending] = {}
        self._retiring = False

    def __len__(self) -> int:
        return sum(len(budget.members) for budget in self._budgets.values())

    def enter(self, connection: Ending, principal: Principal, now: float) -> None:
        """Count a connection in. Raises TooMany."""
        budget = self._budgets.get(principal.budget)
        if budget is None:
            self._forget_idle(now)
            operator = principal.kind is Kind.OPERATOR
            limit = MAX_OPERATOR_CONNECTIONS if operator else MAX_CONNECTIONS_PER_PRINCIPAL
            budget = self._budgets[principal.budget] = _Budget(limit, now)
        why = None
        if len(budget.members) >= budget.limit:
            why = f"{budget.limit} connections are open for {principal.name}; close one first"
        # Operators are not slowed down: a flood of theirs is theirs to stop, and 10,000 may come back at once.
        elif principal.kind is not Kind.OPERATOR and not budget.take_token(now):
            why = f"{principal.name} connects more than {CONNECTS_PER_SECOND} times a second; keep one connection"
        if why is not None:
            budget.turned_away += 1
            if budget.turned_away == FLOOD_CONNECTS and principal.bound:
                self._flooded(principal)
            raise TooMany(why)
        budget.members.add(connection)
        if self._retiring:
            connection.retire()

    def leave(self, connection: Ending, principal: Principal) -> None:
        """Count it out."""
        budget = self._budgets.get(principal.budget)
        if budget is not None:
            budget.members.discard(connection)
        if self._workers.get(principal.spawn) is connection:
            del self._workers[principal.spawn]

    def seat_worker(self, connection: Ending, principal: Principal) -> None:
        """This connection showed the worker's ticket: an older one, which the worker has given up, is ended."""
        older = self._workers.get(principal.spawn)
        self._workers[principal.spawn] = connection
        if older is not None and older is not connection:
            older.end(CloseReason.REPLACED)

    def end_worker(self, spawn: str) -> int:
        """The worker's tree is gone: end what is left of its connections; how many there were."""
        budget = self._budgets.get(spawn)
        members = tuple(budget.members) if budget else ()
        for connection in members:
            connection.end(CloseReason.WORKER_GONE)
        return len(members)

    def retire_all(self) -> None:
        """Have every connection, those still to come included, answer what it is at and end."""
        self._retiring = True
        for budget in tuple(self._budgets.values()):
            for connection in tuple(budget.members):
                connection.retire()

    def _forget_idle(self, now: float) -> None:
        for name in [name for name, budget in self._budgets.items() if budget.is_idle(now)]:
            del self._budgets[name]
