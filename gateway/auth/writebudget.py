"""How often somebody outside may call one method that changes how the system is run. Pure: time is an argument.

Owns the calls counted, per method and caller, within a window that slides. The number is OpenClaw's (2026.9.6): 30 in
60 s. Callers of the Unix doors are not counted: they are this machine's own."""

from __future__ import annotations

from collections import deque

from gateway.auth.principal import Principal
from gateway.auth.ratelimit import bucket_of

MAX_CALLS, WINDOW_MS = 30, 60_000
MAX_ENTRIES = 10_000
"""Methods and callers remembered. When there are more, the one that has been quiet longest is forgotten: to gain by
that, one needs more devices or addresses than this, and has a budget with each of them anyway."""


class WriteBudget:
    """Calls so far. Times are milliseconds of one clock that never goes back."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._calls: dict[tuple[str, str], deque[int]] = {}

    def spend(self, method: str, who: str, now: int) -> int:
        """Count a call, if there is room for it: 0. Else in how many milliseconds there is; a call that is refused is
        not counted, so that asking does not make the wait longer."""
        key = (method, who)
        calls = self._calls.pop(key, None)
        if calls is None:
            calls = deque()
            if len(self._calls) >= self._max_entries:
                del self._calls[next(iter(self._calls))]
        self._calls[key] = calls  # at the end: the first is the one that has been quiet longest
        while calls and calls[0] <= now - WINDOW_MS:
            calls.popleft()
        if len(calls) >= MAX_CALLS:
            return calls[0] + WINDOW_MS - now
        calls.append(now)
        return 0


def payer_of(principal: Principal) -> str | None:
    """Whose budget a call takes from: a device's, else an address's; None for a peer of a Unix door."""
    if not principal.outside:
        return None
    return f"device:{principal.device}" if principal.device else f"address:{bucket_of(principal.address)}"
