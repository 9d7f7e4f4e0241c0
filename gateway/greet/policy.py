"""What the configuration says about the outer door, in the form the decision uses, and the token made when none is set.

Owns the file `gateway-token` in the state directory."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

from gateway.auth.origin import origins_from
from gateway.auth.proxies import Network, ProxyRule, networks_from
from gateway.auth.ratelimit import Rule
from gateway.auth.secrets import Secrets
from gateway.config.gateway_settings import Gateway, TrustedProxy
from gateway.store.backup import sync

TOKEN_FILE = "gateway-token"
MAX_TOKEN_BYTES = 4096


class OuterPolicy(msgspec.Struct, frozen=True):
    """The rules of the outer door. `operators` are the uids of processes on this machine that mode none lets in."""

    secrets: Secrets
    origins: frozenset[str] = frozenset()
    proxies: tuple[Network, ...] = ()
    proxy_rule: ProxyRule | None = None
    operators: frozenset[int] = frozenset()
    rate: Rule = msgspec.field(default_factory=Rule)


def outer_policy(gateway: Gateway, *, operators: frozenset[int], token: str | None) -> OuterPolicy:
    """The policy of a complete configuration. `token` is the generated one, for a configuration that sets none. Raises
    ValueError for a trusted proxy that is no address."""
    auth, limit = gateway.auth, gateway.auth.rate_limit
    shared = auth.token if auth.token is not None else token or ""
    return OuterPolicy(
        Secrets(auth.mode or "token", shared, auth.password or ""),
        origins_from(gateway.control_ui.allowed_origins),
        networks_from(gateway.trusted_proxies),
        _proxy_rule(auth.trusted_proxy),
        operators,
        Rule(limit.max_attempts, limit.window_ms, limit.lockout_ms, limit.exempt_loopback),
    )


def _proxy_rule(proxy: TrustedProxy | None) -> ProxyRule | None:
    if proxy is None:
        return None
    return ProxyRule(
        proxy.user_header.lower(),
        tuple(header.lower() for header in proxy.required_headers),
        frozenset(proxy.allow_users),
        proxy.allow_loopback,
        frozenset(proxy.proxy_uids),
    )


def lasts(method: str, before: OuterPolicy, now: OuterPolicy) -> bool:
    """Whether somebody who came in by `method` under the rules of `before` stays under those of `now`. A device that
    showed its own token does: what ends that is pairing's business."""
    if method == "device-token":
        return True
    if now.secrets != before.secrets:
        return False
    if method == "trusted-proxy":
        return (now.proxies, now.proxy_rule) == (before.proxies, before.proxy_rule)
    return method != "none" or now.operators == before.operators


def needs_token(gateway: Gateway) -> bool:
    """Whether a token has to be generated: the mode compares one, and the configuration says nothing of it. An empty
    one is said: nobody comes in by it."""
    return gateway.auth.mode in (None, "token") and gateway.auth.token is None


def generated_token(state_dir: Path) -> str:
    """The token in the state directory, made on the first call: 32 random bytes as base64url, in a file for its owner
    alone. Raises OSError, and ValueError when the file holds none."""
    path = state_dir / TOKEN_FILE
    try:
        return _write(path)
    except FileExistsError:
        return _read(path)


def _write(path: Path) -> str:
    """Beside it and then by link(2), so that nobody, after a crash either, ever reads half a token."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    token = secrets.token_urlsafe(32)
    if path.exists():
        raise FileExistsError(path)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
        sync(path.parent)
    finally:
        beside.unlink()
    return token


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        os.fchmod(file.fileno(), 0o600)  # a restored backup may have let others read it
        token = file.read(MAX_TOKEN_BYTES).decode(errors="replace").strip()
    if not token:
        raise ValueError(f"{path} holds no token; delete it to have a new one made")
    return token
