"""How often an address may fail before it is not listened to for a while. Pure: time is an argument.

Owns the failures counted, per scope (which kind of secret) and per bucket (an IPv4 address, an IPv6 /64, or the origin
of a browser on this machine). Numbers and shape are OpenClaw's (2026.9.6, auth-rate-limit); loopback is not locked out
unless told to be, and waits longer for each answer instead. Each scope has a table of its own, so that whoever fills
one with wrong tokens locks no paired device out."""

from __future__ import annotations

import ipaddress
from collections import deque

import msgspec

from gateway.auth.origin import parse_address

SHARED_SECRET, DEVICE_TOKEN, BOOTSTRAP_TOKEN = "shared-secret", "device-token", "bootstrap-token"
SCOPES = (SHARED_SECRET, DEVICE_TOKEN, BOOTSTRAP_TOKEN)

MAX_ENTRIES = 10_000
"""Buckets remembered per scope. When all of them are locked, nobody new is listened to until the first is not."""
FIRST_DELAY_MS, LONGEST_DELAY_MS = 250, 5_000


class Rule(msgspec.Struct, frozen=True):
    """`max_attempts` failures within `window_ms` lock for `lockout_ms`."""

    max_attempts: int = 10
    window_ms: int = 60_000
    lockout_ms: int = 300_000
    exempt_loopback: bool = True


class _Entry(msgspec.Struct):
    """One bucket: when it failed, oldest first, and until when it is locked."""

    failures: deque[int] = msgspec.field(default_factory=deque)
    locked_until: int = 0


class RateLimiter:
    """Failures so far. `rule` may be replaced. Times are milliseconds of one clock that never goes back."""

    def __init__(self, rule: Rule, *, max_entries: int = MAX_ENTRIES) -> None:
        self.rule = rule
        self._max_entries = max_entries
        self._tables: dict[str, dict[str, _Entry]] = {scope: {} for scope in SCOPES}

    def locked_ms(self, scope: str, bucket: str, now: int) -> int:
        """How long this bucket will not be listened to; 0 when it may try."""
        table = self._tables[scope]
        entry = table.get(bucket)
        if entry is not None:
            return max(0, entry.locked_until - now)
        if len(table) < self._max_entries or self._is_exempt(bucket) or self._forget(table, now):
            return 0
        return min(one.locked_until for one in table.values()) - now

    def failed(self, scope: str, bucket: str, now: int) -> int:
        """Count a failure; how many milliseconds the answer shall wait (0 unless the bucket is loopback's)."""
        table = self._tables[scope]
        entry = table.pop(bucket, None)
        if entry is None:
            if len(table) >= self._max_entries and not self._forget(table, now) and not self._is_exempt(bucket):
                return 0  # every bucket is locked, and so is this one, as `locked_ms` says
            entry = _Entry()
        table[bucket] = entry  # at the end: the first is the one that has been quiet longest
        while entry.failures and entry.failures[0] <= now - self.rule.window_ms:
            entry.failures.popleft()
        entry.failures.append(now)
        if self._is_exempt(bucket):
            return self._delay(entry)
        if len(entry.failures) >= self.rule.max_attempts:
            entry.locked_until = now + self.rule.lockout_ms
            entry.failures.clear()
        return 0

    def succeeded(self, scope: str, bucket: str) -> None:
        """It knew the secret: what it got wrong before is forgotten."""
        self._tables[scope].pop(bucket, None)

    def _delay(self, entry: _Entry) -> int:
        while len(entry.failures) > 16:  # the delay has long been the longest; more would only take memory
            entry.failures.popleft()
        return min(LONGEST_DELAY_MS, FIRST_DELAY_MS << (len(entry.failures) - 1))

    def _is_exempt(self, bucket: str) -> bool:
        return self.rule.exempt_loopback and bucket == LOOPBACK

    def _forget(self, table: dict[str, _Entry], now: int) -> bool:
        """Make room by dropping the bucket that has been quiet longest and is not locked; whether there is room."""
        for bucket, entry in table.items():
            if entry.locked_until <= now:
                del table[bucket]
                return True
        return False


LOOPBACK = "loopback"
_V6_PREFIX = 64


def bucket_of(address: str, origin: str | None = None) -> str:
    """Which count an address belongs to. IPv6: its /64, which is what one household or one attacker has. A browser on
    this machine is counted by the origin of its page, because any page can make it try."""
    ip = parse_address(address)
    if ip is None:
        return address
    if ip.is_loopback:
        return f"browser-origin:{origin}" if origin else LOOPBACK
    if ip.version == 6:
        return str(ipaddress.ip_network((ip, _V6_PREFIX), strict=False))
    return str(ip)


def retry_after(milliseconds: int) -> str:
    """The value of a Retry-After header: whole seconds, at least one."""
    return str(max(1, -(-milliseconds // 1000)))
