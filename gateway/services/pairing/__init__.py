"""Pairing: devices that come over the network, and the person who lets them in.

Owns the service `Pairing`. Every change is one transaction; memory follows in commit order, and nobody is answered
before both. Nothing here is asked about a Unix peer."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gateway.auth.principal import Principal
from gateway.protocol.devices import OPERATOR_ROLE, ClientFacts, Device, DeviceToken, Pending, SetupCode
from gateway.protocol.errors import Refusal
from gateway.protocol.scopes import uncovered
from gateway.services.pairing import codes, requests, rules, shapes, tokens, upgrades
from gateway.services.pairing.audit import Audit
from gateway.services.pairing.book import Book
from gateway.services.pairing.changes import Step
from gateway.services.pairing.codes import Code
from gateway.services.pairing.rules import Wish
from gateway.services.ports import Publisher
from gateway.store import devices
from gateway.store.database import Database

T = TypeVar("T")

_log = logging.getLogger("gateway.pairing")

MAX_TOLD = 20
"""Damaged records that are named in the log one by one."""
TOUCH_MS = 10_000
"""How exact it is known when a device was last here."""


def new_token() -> str:
    """32 random bytes, base64url without padding."""
    return secrets.token_urlsafe(32)


class Pairing:
    """Who is paired, who waits, and every way to change that. Times are wall milliseconds.

    What it refuses raises Refusal, and the audit remembers it."""

    def __init__(self, database: Database, hub: Publisher, clock: Callable[[], float]) -> None:
        self.audit = Audit(database, clock)
        self._database = database
        self._clock = clock
        self._touched: dict[str, int] = {}
        loaded = database.read(devices.load)
        self._book = Book(loaded, hub, clock)
        self._tell_damaged(loaded)

    def _tell_damaged(self, loaded: devices.Loaded) -> None:
        for device_id, why in list(loaded.damaged.items())[:MAX_TOLD]:
            about = {"device": device_id, "error": why}
            _log.error("the record of a paired device is damaged; it has to be paired anew", extra=about)
            self.audit.note("device.damaged", rule="record-unreadable", device=device_id, detail={"error": why})
        if len(loaded.damaged) > MAX_TOLD:
            _log.error("%d records of paired devices are damaged: peergate devices", len(loaded.damaged))
        if loaded.damaged_elsewhere:
            named = ", ".join(loaded.damaged_elsewhere[:MAX_TOLD])
            _log.error("%d other records of pairing are damaged: %s", len(loaded.damaged_elsewhere), named)

    @property
    def damaged(self) -> dict[str, str]:
        """Paired devices whose record cannot be read, and why. They are not paired; `remove` takes them away."""
        return self._book.damaged

    def on_invalidated(self, hear: Callable[[str, str | None, str], None]) -> None:
        """`hear(device_id, role or None for all, why)` is called, in commit order and before the caller of the change
        is answered, when connections of a device have lost what let them in. They must do nothing from then on, and end
        with `client invalidated: <why>` when the answers under way have gone out."""
        self._book.on_invalidated = hear

    # --- what the outer door asks ------------------------------------------------------------------------------------

    def device(self, device_id: str) -> Device | None:
        """A paired device, from memory."""
        return self._book.devices.get(device_id)

    def setup(self, token: str, device_id: str | None = None) -> SetupCode | None:
        """The setup code of a token; None when it is unknown, expired, or another device than `device_id` has used
        it."""
        code = self._book.codes.get(codes.hash_of(token))
        return code if codes.good(code, self._clock(), device_id) else None

    async def ask(
        self, device_id: str, public_key: str, role: str, scopes: Iterable[str], facts: ClientFacts, reason: str
    ) -> Pending:
        """Leave a request of a device that proved its key. Asking again refreshes it; asking for more replaces it by a
        new one for everything. Raises Refusal UNAVAILABLE when too many wait."""
        return await self._ask(rules.wish(device_id, public_key, role, scopes, facts, reason))

    async def _ask(self, wish: Wish) -> Pending:
        now = self._now()
        mine = [one for one in self._book.waiting() if one.device_id == wish.device_id]
        same = rules.same_grant(mine, wish)
        if same is not None and rules.is_fresh(same, wish, now):
            return same
        return await self._do(
            lambda db: requests.ask(db, wish, now), "device.pair.requested",
            device=wish.device_id, address=wish.facts.remote_ip or "",
        )  # fmt: skip

    async def admit(
        self, device_id: str, role: str, scopes: Iterable[str], facts: ClientFacts, method: str,
        shown_token: str | None, generation: str,
    ) -> DeviceToken:  # fmt: skip
        """The token of a device the door has decided to let in, reused or new; writes down that it was here. `method`
        is what it proved, `shown_token` the device token it showed, `generation` that of the shared secret. Raises
        Refusal NOT_PAIRED when it was removed, rotated or revoked since the door looked.

        Between its return and the connection's joining the hub there must be no await: so a later change finds the
        connection, and an earlier one was seen here."""
        wanted = tuple(scopes)
        _, token = tokens.still_good(self.device(device_id), role, wanted, shown_token)
        now = self._now()
        enough = role != OPERATOR_ROLE or not uncovered(wanted, token.scopes)
        if rules.usable(token, generation) and enough:
            self._touch(device_id, role, facts, now)
            return token
        token = await self._do(
            lambda db: tokens.admit(
                db, device_id, role, wanted, facts, method, shown_token, generation, now, new_token
            ),
            "device.admitted", device=device_id, address=facts.remote_ip or "",
        )  # fmt: skip
        # Between the commit and our turn another one may have been followed.
        return tokens.still_good(self.device(device_id), role, wanted, token.token)[1]

    def _touch(self, device_id: str, role: str, facts: ClientFacts, now: int) -> None:
        """Last seen may ride in another batch, and need not be exact."""
        if not 0 <= now - self._touched.get(device_id, now - TOUCH_MS) < TOUCH_MS:  # or the clock was put back
            self._touched[device_id] = now
            self._database.post(
                lambda db: tokens.touch(db, device_id, role, facts, now),
                then=lambda step: self._book.apply(step.changes), lazy=True,
            )  # fmt: skip

    async def redeem(
        self, setup_token: str, device_id: str, public_key: str, role: str, scopes: Iterable[str], facts: ClientFacts
    ) -> tuple[Device, list[DeviceToken]]:
        """Pair the device that shows a setup code's token, as its profile says: the device and a token for each role.
        Raises Refusal with details.code AUTH_BOOTSTRAP_TOKEN_INVALID."""
        wish = rules.wish(device_id, public_key, role, scopes, facts, "setup-code")
        now, token_hash = self._now(), codes.hash_of(setup_token)
        device, given = await self._do(
            lambda db: codes.redeem(db, token_hash, wish, now, new_token), "device.setup.used",
            device=device_id, address=wish.facts.remote_ip or "",
        )  # fmt: skip
        for token in given:  # as in `admit`
            tokens.still_good(self.device(device_id), token.role, (), token.token)
        return device, given

    # --- what operators do --------------------------------------------------------------------------------------------

    def list(self, by: Principal, connected: frozenset[str] = frozenset()) -> dict[str, Any]:
        """{pending, paired, damaged?}, the newest first; a device that manages itself only sees itself. `connected`:
        ids of devices that are."""
        alone = by.device if rules.manages_itself_only(by) else None

        def shown(device_id: str) -> bool:
            return alone is None or device_id == alone

        paired = sorted(self._book.devices.values(), key=lambda one: one.approved_at_ms, reverse=True)
        told: dict[str, Any] = {
            "pending": [shapes.request(one) for one in self._book.waiting() if shown(one.device_id)],
            "paired": [
                shapes.device(one, connected=one.device_id in connected) for one in paired if shown(one.device_id)
            ],
        }
        if self.damaged and alone is None:
            told["damaged"] = [{"deviceId": name, "error": why} for name, why in self.damaged.items()]
        return told

    async def approve(self, request_id: str, by: Principal, digest: str | None = None) -> Device:
        """Grant all that a request asks for, as far as `by` has it. With `digest` only what that stands for."""
        now = self._now()
        return await self._do(
            lambda db: requests.approve(db, request_id, by, digest, now, new_token), "device.pair.approved", by=by
        )

    async def reject(self, request_id: str, by: Principal) -> Pending:
        """Take a request away."""
        now = self._now()
        return await self._do(lambda db: requests.reject(db, request_id, by, now), "device.pair.rejected", by=by)

    async def remove(self, device_id: str, by: Principal) -> str:
        """Take a device away; its connections end."""
        now = self._now()
        removed = await self._do(
            lambda db: tokens.remove(db, device_id, by, now), "device.pair.removed", by=by, device=device_id
        )
        self._touched.pop(device_id, None)
        return removed

    async def rename(self, device_id: str, label: str, by: Principal) -> str:
        """Give a device a name of the operator's, 1 to 64 characters; the name as it is kept."""
        now = self._now()
        return await self._do(
            lambda db: tokens.rename(db, device_id, label, by, now), "device.pair.renamed", by=by, device=device_id
        )

    async def rotate(
        self, device_id: str, role: str, by: Principal, scopes: Iterable[str] | None = None
    ) -> tuple[DeviceToken, bool]:
        """A new token for a device's role, and whether the caller may be told it: only the device itself may. The
        device's connections in that role end, the caller's too."""
        now, wanted = self._now(), None if scopes is None else tuple(scopes)
        token = await self._do(
            lambda db: tokens.rotate(db, device_id, role, wanted, by, now, new_token),
            "device.token.rotated", by=by, device=device_id,
        )  # fmt: skip
        return token, tokens.told_in_band(by, device_id)

    async def revoke(self, device_id: str, role: str, by: Principal) -> DeviceToken:
        """End a device's role until it is approved again; its connections in that role end."""
        now = self._now()
        return await self._do(
            lambda db: tokens.revoke(db, device_id, role, by, now), "device.token.revoked", by=by, device=device_id
        )

    async def new_setup_code(self, profile: str, by: Principal) -> Code:
        """A setup code of a profile of `rules.PROFILES`; its token is told here and never again."""
        now, token = self._now(), new_token()
        return await self._do(lambda db: codes.create(db, profile, by, token, now), "device.setup.created", by=by)

    def setup_status(self, setup_id: str) -> SetupCode | None:
        """How a setup code stands; None when there is none of that id, or none any more."""
        return next((one for one in self._book.codes.values() if one.setup_id == setup_id), None)

    async def clean(self) -> None:
        """Drop what has expired."""
        now = self._now()
        await self._do(lambda db: requests.expire(db, now), "device.pair.expired")

    # --- more scopes for a device that is connected -------------------------------------------------------------------

    async def request_upgrade(self, by: Principal, scopes: Iterable[str]) -> Pending:
        """Ask for more scopes on an open connection; they must hold those it has."""
        return await self._ask(upgrades.wish_of(self._book, by, scopes))

    async def wait_upgrade(self, by: Principal, request_id: str) -> dict[str, Any]:
        """Wait until a request of the caller's own has ended, at most as long as it may wait: {status: approved,
        requestId, deviceToken, scopes} or {status: rejected | expired, requestId}."""
        return await upgrades.wait(self._book, by, request_id)

    # --- one transaction ----------------------------------------------------------------------------------------------

    async def _do(
        self, step: Callable[[sqlite3.Connection], Step[T]], event: str, *, by: Principal | None = None,
        device: str = "", address: str = "",
    ) -> T:  # fmt: skip
        """Carry a step out. A refusal goes into the audit as `<event>.refused`, with its rule."""
        try:
            done = await self._database.write(step, then=lambda step: self._book.apply(step.changes))
        except Refusal as refusal:
            details = refusal.shape.details or {}
            rule = str(details.get("reason") or details.get("code") or "")
            if rule:
                self.audit.note(
                    f"{event}.refused", rule=rule, device=device, address=address or (by.address if by else ""),
                    who=by.name if by else "", detail={"message": refusal.shape.message},
                )  # fmt: skip
            raise
        return done.value

    def _now(self) -> int:
        return round(self._clock())


__all__ = ["Code", "Pairing", "new_token"]
