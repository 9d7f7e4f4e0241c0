"""TLS of the outer door: the context connections are made with, and keeping it in step with the files.

Owns the context. A new pair is tried in a context of its own, whole, before it replaces the old one; a bad one changes
nothing but the log. TLS 1.3 only."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import trio

from gateway.config.gateway_settings import Tls
from gateway.listen.certificate import (
    RENEW,
    BadCertificate,
    Facts,
    Place,
    ensure_pair,
    place_of,
    read_facts,
    same_fingerprint,
    utc_now,
)

_log = logging.getLogger("gateway.listen")

POLL_SECONDS = 2.0
RENEWAL_EVERY = 21_600
"""Looks between two looks at whether the pair is about to expire: half a day."""

Signature = tuple[object, ...]


class Loaded(msgspec.Struct, frozen=True):
    """A pair in use: the context, what the certificate says, and the files as they were."""

    context: ssl.SSLContext
    facts: Facts
    signature: Signature


def server_context() -> ssl.SSLContext:
    """A server's TLS context without a certificate. No session tickets: a client of ours connects seldom and stays, and
    each ticket would cost a record per connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    return context


def load(place: Place, tls: Tls) -> Loaded:
    """Try the pair that is there, whole. Raises BadCertificate."""
    signature = signature_of(place)
    facts = read_facts(place)
    if tls.fingerprint and not same_fingerprint(tls.fingerprint, facts.fingerprint):
        raise BadCertificate(
            f"{place.cert} has the fingerprint {facts.fingerprint} and gateway.tls.fingerprint is {tls.fingerprint}: "
            "correct the one that is wrong"
        )
    context = server_context()
    try:
        context.load_cert_chain(place.cert, place.key, password=_no_password)
        if tls.ca_path:
            # Issuers that are sent along with the certificate; nobody is asked for a certificate of theirs.
            context.load_verify_locations(tls.ca_path)
    except (ssl.SSLError, OSError, ValueError) as error:
        ca = f" with {tls.ca_path}" if tls.ca_path else ""
        raise BadCertificate(
            f"{place.cert} and {place.key} are no pair that can be used{ca}: {error}; correct them, or remove both "
            "and a new pair is made"
        ) from error
    if signature_of(place) != signature:
        raise BadCertificate(f"{place.cert} and {place.key} were being replaced")
    return Loaded(context, facts, signature)


def _no_password() -> str:
    raise ValueError("the key is encrypted, and there is nobody to ask for its password")


def signature_of(place: Place) -> Signature:
    """What changes when one of the files does, also behind a link."""
    return tuple(_stamp(path) for path in (place.cert, place.key))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def prepare(tls: Tls, state_dir: Path, names: list[str], now: datetime) -> Loaded:
    """The pair the configuration means, made if need be. Blocks. Raises BadCertificate."""
    place = place_of(tls, state_dir)
    ensure_pair(place, names, now)
    return load(place, tls)


class TlsKeeper:
    """The context in use, and the task that keeps it so. `names` are those the certificate should have."""

    def __init__(self, tls: Tls, state_dir: Path, names: list[str], *, clock: Callable[[], datetime] = utc_now) -> None:
        self._tls = tls
        self._state_dir = state_dir
        self._place = place_of(tls, state_dir)
        self._names = names
        self._clock = clock
        self._loaded: Loaded | None = None
        self._seen: Signature | None = None
        self._refused: Signature | None = None
        self._looks = 0

    @property
    def context(self) -> ssl.SSLContext | None:
        """For the next connection; None while there has been no good pair."""
        return self._loaded.context if self._loaded else None

    @property
    def facts(self) -> Facts | None:
        """What the certificate in use says."""
        return self._loaded.facts if self._loaded else None

    @property
    def lacking(self) -> list[str]:
        """Names the certificate in use does not cover."""
        return self._loaded.facts.lacks(self._names) if self._loaded else []

    async def open(self) -> None:
        """Take the pair into use, made if need be. Raises BadCertificate."""
        prepared = partial(prepare, self._tls, self._state_dir, self._names, self._clock())
        self._take(await trio.to_thread.run_sync(prepared))

    def _take(self, loaded: Loaded) -> None:
        self._loaded, self._refused = loaded, None
        facts = loaded.facts
        about = {
            "fingerprint": facts.fingerprint,
            "cert": str(self._place.cert),
            "expires": facts.not_after.isoformat(),
        }
        _log.info("certificate in use", extra=about)
        if self.lacking:
            _log.warning("the certificate lacks names of this gateway", extra={"names": self.lacking, "fix": RENEW})
        if not facts.ours and self._clock() >= facts.not_after - timedelta(days=14):
            _log.warning("the certificate expires soon, or has expired", extra=about)

    async def serve(self) -> None:
        """Follow the files for ever; nothing that is wrong with them ends this."""
        while True:
            await trio.sleep(POLL_SECONDS)
            await self.look()

    async def look(self) -> None:
        """One look at the files, and at whether a pair of ours is about to expire: half a day."""
        self._looks += 1
        try:
            await self._follow()
        except BadCertificate as error:
            stays = "the old one stays" if self._loaded else "there is none"
            _log.error(f"no new certificate, {stays}", extra={"error": str(error), "cert": str(self._place.cert)})

    async def _follow(self) -> None:
        signature = await trio.to_thread.run_sync(signature_of, self._place)
        # Whoever replaces two files has to be given the time between them: twice the same, then it counts.
        rests, self._seen = signature == self._seen, signature
        loaded = self._loaded
        if loaded is not None and self._looks % RENEWAL_EVERY == 0 and loaded.facts.is_due(self._clock()):
            await self.open()
        elif rests and signature != self._refused and (loaded is None or signature != loaded.signature):
            self._refused = signature
            await (self.open() if loaded is None else self._load())

    async def _load(self) -> None:
        self._take(await trio.to_thread.run_sync(load, self._place, self._tls))
