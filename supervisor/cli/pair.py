"""`peergate pair`: making this device one that a gateway elsewhere knows, step by step.

Owns the order: whose certificate it is, before anything is said; what to type on the gateway's machine; waiting until a
person there has typed it. What is kept afterwards is the client's business (`gateway.client.known`)."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.address import RemoteDoor, door_at
from supervisor.cli.errors import CliError, HelloRefused, NotRunning, Usage
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import note, one_line

if TYPE_CHECKING:
    from gateway.client import CallFailed
    from gateway.client.known import Known

WAIT_SECONDS = 300
"""As long as a request waits there (docs/pairing.md)."""
LOOK_SECONDS = 3.0
"""Between two looks whether it was approved; each is a line in the gateway's audit."""
CODE_PREFIX = "oc-pair://"
MISSING = ("AUTH_TOKEN_MISSING", "AUTH_PASSWORD_MISSING", "AUTH_DEVICE_TOKEN_MISMATCH", "AUTH_SCOPE_MISMATCH")
"""What a shared secret would mend."""


class NotApproved(HelloRefused):
    """Nobody let this device in while we waited, or somebody turned it away."""

    code = "NOT_PAIRED"


@dataclass(frozen=True, slots=True)
class Invitation:
    """A setup code as it was made there: where to go, and what to show."""

    urls: tuple[str, ...]
    token: str
    fingerprint: str


@command(
    "pair", "peergate pair wss://box.local:18789 --token-file token.txt", "peergate pair eyJ1cmwiOi…",
    "peergate pair wss://box.local:18789 --scope operator.read --no-wait",
)  # fmt: skip
@click.argument("place", metavar="[URL|CODE]", required=False)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until somebody there has decided.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 86_400),
    metavar="SECONDS",
    default=WAIT_SECONDS,
    show_default=True,
    help="Seconds to wait.",
)
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="Ask for this as well (may be given again).")
def pair(run: Invocation, place: str | None, wait: bool, timeout: int, scopes: tuple[str, ...]) -> None:
    """Pair this device with the gateway at URL, or with the setup code CODE that `peergate qr` printed there.

    Its certificate is shown to be compared, then a request waits there that a person approves; a setup code needs
    neither. Exit code 77 while nobody has. --json prints {paired, url, deviceId, scopes, fingerprint}."""
    invitation = read_code(place) if place and "://" not in place.removeprefix(CODE_PREFIX) else None
    door = _door(run, invitation.urls[0] if invitation else place)
    if invitation is None:
        _settle_certificate(door)
        _try_own_token(door)
    more: dict[str, Any] = {"scopes": wanted_scopes(door, scopes)} if scopes else {}
    if invitation is not None:
        door = _nearest(run, invitation)
        more["setup"] = invitation.token
    until = time.monotonic() + timeout if wait else None
    if invitation is None and scopes and not (door.token or door.password) and _remembered(door).token:
        # Its own token is worth what it was given for: more is asked for from inside.
        _upgrade(door, list(more.pop("scopes")), until)
    result = _until_paired(door, more, until)
    run.answer(result, lambda: _paired_text(result))


def _door(run: Invocation, place: str | None) -> RemoteDoor:
    if place is not None:
        return door_at(place, run.elsewhere, run.environ)
    door = run.remote
    if door is None:
        raise Usage("say where: an address or a setup code", fix="peergate pair wss://host:18789")
    return door


def read_code(text: str) -> Invitation:
    """What is in a setup code. Raises Usage."""
    import base64
    import json

    plain = text.removeprefix(CODE_PREFIX).strip().rstrip("=")
    try:
        told = json.loads(base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4)))
        urls = tuple(str(url) for url in told.get("urls") or [told["url"]])
        token, fingerprint = str(told["bootstrapToken"]), str(told.get("tlsFingerprint") or "")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise Usage("that is neither an address nor a setup code", fix="peergate qr prints one there") from None
    if told.get("expiresAtMs", sys.maxsize) < time.time() * 1000:
        raise CliError("this setup code is too old", fix="peergate qr prints a new one there")
    return Invitation(urls, token, fingerprint)


def _nearest(run: Invocation, invitation: Invitation) -> RemoteDoor:
    """The first of a code's addresses where somebody listens."""
    trouble: CliError | None = None
    for url in invitation.urls:
        door = door_at(url, run.elsewhere, {})
        door.fingerprint = door.fingerprint or (invitation.fingerprint if url.startswith("wss:") else "")
        try:
            _look(door)
        except CliError as error:
            trouble = trouble or error
            continue
        return door
    raise trouble or Usage("this setup code names no address")


def wanted_scopes(door: RemoteDoor, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """What was asked for, and what this device has there already."""
    return tuple(dict.fromkeys((*_remembered(door).scopes, *scopes)))


def _remembered(door: RemoteDoor) -> Known:
    """What is known of the gateway there. Raises CliError."""
    from gateway.client import known
    from gateway.client.access import OPERATOR, parse_address
    from gateway.client.keep import BadKeep, keep_directory
    from supervisor.cli.remote import told

    try:
        return known.recall(keep_directory(os.environ), parse_address(door).name, OPERATOR)
    except (BadKeep, ValueError) as error:
        raise told(door, error) from None


# --- whose certificate it is ------------------------------------------------------------------------------------------


def _look(door: RemoteDoor) -> Any:
    """The certificate there. Raises CliError."""
    import trio

    from gateway.client.access import CannotConnect
    from gateway.client.remote import look
    from supervisor.cli.remote import CONNECT_SECONDS, run_here, told

    async def looking() -> Any:
        return await look(door, trio.current_time() + CONNECT_SECONDS)

    try:
        return run_here(looking)
    except (CannotConnect, ValueError, trio.TooSlowError) as error:
        raise told(door, error) from None


def _settle_certificate(door: RemoteDoor) -> None:
    """Show it, and have it compared, unless that was done beforehand or an authority vouches for it."""
    certificate = _look(door)
    if certificate.how in ("plain", "authorities"):
        return
    note(f"the certificate there is {certificate.fingerprint}")
    before = _remembered(door).pin
    if door.fingerprint or before == certificate.fingerprint:  # connecting compares them
        return
    if before:
        note(f"  WARNING: it is another than before ({before})")
    note(f"  nobody this machine trusts vouches for it ({one_line(certificate.why)})")
    note("  on the gateway's machine, this prints what it should be: peergate cert show")
    if not sys.stdin.isatty():
        raise Usage("compare it, and give it: nobody can be asked here", fix=f"--fingerprint {certificate.fingerprint}")
    if not click.confirm("Is it the same?", err=True):
        raise CliError("then somebody else may be answering: nothing was sent")
    door.fingerprint = certificate.fingerprint


# --- asking, and waiting ----------------------------------------------------------------------------------------------


def _try_own_token(door: RemoteDoor) -> None:
    """Beside a shared secret a device's own token is not shown. One that was taken back is forgotten here, or more
    would be asked for than anybody still allows."""
    from gateway.client import CallFailed

    if _remembered(door).token:
        own = RemoteDoor(door)
        own.fingerprint = door.fingerprint
        with suppress(CallFailed):
            _greet(own, {})


def _until_paired(door: RemoteDoor, more: dict[str, Any], until: float | None) -> dict[str, Any]:
    """What hello said, once this device is let in; asks again until `until` (monotonic seconds), or only once."""
    from gateway.client import CallFailed
    from supervisor.cli.remote import told, warn_of_plaintext

    warn_of_plaintext(door)
    waiting = ""
    while True:
        try:
            return _greet(door, more)
        except CallFailed as failed:
            request = str(failed.details.get("requestId") or "")
            if _ask_for_secret(door, failed):
                continue
            if not request or until is None:
                raise told(door, failed) from None
            _tell(request, waiting, failed)
            waiting = request
        except NotRunning:
            if not waiting:
                raise
        if until is None or time.monotonic() + LOOK_SECONDS > until:
            raise _nobody_yet(waiting)
        time.sleep(LOOK_SECONDS)


def _tell(request: str, waiting: str, failed: CallFailed) -> None:
    if waiting and request != waiting:
        raise NotApproved(
            f"request {waiting} was turned away, or nobody decided in time", fix="peergate pair asks again"
        )
    if not waiting:
        _tell_to_approve(one_line(failed.message), request)


def _tell_to_approve(why: str, request: str) -> None:
    note(f"{why}. To allow it, type on the gateway's machine:")
    note(f"  peergate devices approve {request}")


def _nobody_yet(request: str) -> NotApproved:
    return NotApproved(f"nobody has approved request {request} yet", fix=f"peergate devices approve {request}, there")


def _greet(door: RemoteDoor, more: dict[str, Any]) -> dict[str, Any]:
    from gateway.client import CallFailed
    from supervisor.cli.remote import open_door, run_here, told

    async def greeting() -> dict[str, Any]:
        async with open_door(door, **more) as client:
            auth = client.hello.get("auth") or {}
            return {
                "paired": True, "url": client.address.url, "deviceId": client.device.id,
                "scopes": list(auth.get("scopes") or ()), "fingerprint": client.certificate.fingerprint or None,
            }  # fmt: skip

    try:
        return run_here(greeting)
    except CallFailed:
        raise
    except Exception as error:
        raise told(door, error) from None


def _ask_for_secret(door: RemoteDoor, failed: CallFailed) -> bool:
    """Have the secret typed that the gateway misses, where somebody can; whether that was done. A device whose own
    token was taken from it starts anew with the shared one."""
    missing = failed.details.get("code")
    if missing not in MISSING or not sys.stdin.isatty():
        return False
    if missing == "AUTH_PASSWORD_MISSING":
        door.password = str(click.prompt("The gateway's password", hide_input=True, err=True)).strip()
    else:
        door.token = str(click.prompt("The gateway's shared token or password", hide_input=True, err=True)).strip()
    return True


def _upgrade(door: RemoteDoor, scopes: list[str], until: float | None) -> None:
    """Ask for more over a connection with what this device has, and keep the token that is given for it."""
    import trio

    from gateway.client import CallFailed
    from gateway.client.access import OPERATOR
    from gateway.client.keep import keep_directory
    from gateway.client.known import remember_tokens
    from supervisor.cli.remote import open_door, run_here, told

    async def upgrading() -> None:
        async with open_door(door) as client:
            asked = await client.call("device.scopes.requestUpgrade", {"scopes": scopes})
            request = str(asked["requestId"])
            _tell_to_approve("this device asks for more", request)
            with trio.move_on_after(0 if until is None else until - time.monotonic()):
                ended = await client.call("device.scopes.waitUpgrade", {"requestId": request})
                if ended.get("status") != "approved":
                    raise NotApproved(f"request {request} was turned away, or nobody decided in time")
                remember_tokens(keep_directory(os.environ), client.address.name, {**ended, "role": OPERATOR})
                return
            raise _nobody_yet(request)

    try:
        run_here(upgrading)
    except CliError:
        raise
    except CallFailed as failed:
        if failed.details.get("code") not in MISSING:  # what is missing is asked for next
            raise told(door, failed) from None
    except Exception as error:
        raise told(door, error) from None


def _paired_text(result: dict[str, Any]) -> str:
    scopes = ", ".join(str(scope).removeprefix("operator.") for scope in result["scopes"])
    return "\n".join(
        [
            f"paired: device {result['deviceId'][:12]} may {scopes}",
            f"  from now on: peergate --url {result['url']} status    (or set PEERGATE_URL)",
        ]
    )
