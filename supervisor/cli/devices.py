"""`peergate devices`: who came over the network and waits, who is paired; letting in, turning away, taking back.

Owns how a person names a request or a device: by the beginning of its id, as far as only one begins so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from supervisor.cli.asking import ask
from supervisor.cli.errors import CliError
from supervisor.cli.invocation import Invocation, command, framed
from supervisor.cli.output import ago, one_line, table

SHORT = 12
"""Letters of a device's id that are shown; what is typed may be as short."""
FEWEST = 4
ROLES = click.Choice(("operator", "node"))


@click.group("devices", invoke_without_command=True)
@click.pass_context
def _devices(context: click.Context) -> None:
    """List devices that wait and devices that are paired; approve, reject, remove, rename; rotate or revoke a token."""
    if context.invoked_subcommand is None:
        show_all(context.ensure_object(Invocation))


devices = framed(
    _devices, "peergate devices", "peergate devices approve --latest", "peergate devices reject 6d96371b",
    "peergate devices remove 56475aa75463", 'peergate devices rename 56475aa75463 "Kitchen tablet"',
)  # fmt: skip


def show_all(run: Invocation) -> None:
    """Print `device.pair.list`."""
    told = ask(run.doors, "device.pair.list")
    run.answer(told, lambda: devices_text(told))


def devices_text(told: Mapping[str, Any]) -> str:
    """Two tables, what is damaged, and what can be done about who waits."""
    pending, paired = told.get("pending") or (), told.get("paired") or ()
    parts = []
    if pending:
        parts += [
            f"waiting ({len(pending)}):",
            waiting_table(pending),
            "to let one in: peergate devices approve ID",
            "",
        ]
    if paired:
        parts += [f"paired ({len(paired)}):", _paired_table(paired)]
    for each in told.get("damaged") or ():
        parts.append(_damaged(each))
    return "\n".join(parts) or "no device is paired and none waits; to invite one: peergate qr"


def waiting_table(pending: Sequence[Mapping[str, Any]]) -> str:
    """Requests, with all that is needed to decide."""
    rows = [
        (
            each.get("requestId"), str(each.get("deviceId"))[:SHORT], each.get("displayName"), each.get("remoteIp"),
            _kind(each), _wants(each), ago(each.get("refreshedAtMs") or each.get("ts")), each.get("reason"),
        )
        for each in pending
    ]  # fmt: skip
    return table(("ID", "DEVICE", "NAME", "FROM", "CLIENT", "WANTS", "ASKED", "WHY"), rows)


def _paired_table(paired: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            str(each.get("deviceId"))[:SHORT], each.get("operatorLabel") or each.get("displayName"),
            each.get("remoteIp"), _kind(each), "now" if each.get("connected") else ago(each.get("lastSeenAtMs")),
            _holds(each),
        )
        for each in paired
    ]  # fmt: skip
    return table(("DEVICE", "NAME", "FROM", "CLIENT", "SEEN", "MAY"), rows)


def _damaged(each: Mapping[str, Any]) -> str:
    name = one_line(each.get("deviceId"))
    return f"damaged: {name}: {one_line(each.get('error'))}; it is not paired: peergate devices remove {name}"


def _kind(each: Mapping[str, Any]) -> str:
    return " ".join(str(each[name]) for name in ("clientId", "platform") if each.get(name))


def _short_scopes(scopes: Sequence[object]) -> str:
    return ", ".join(str(scope).removeprefix("operator.") for scope in scopes)


def _wants(each: Mapping[str, Any]) -> str:
    scopes = _short_scopes(each.get("scopes") or ())
    return " + ".join(map(str, each.get("roles") or ())) + (f": {scopes}" if scopes else "")


def _holds(each: Mapping[str, Any]) -> str:
    return "; ".join(map(_token, each.get("tokens") or ()))


def _token(token: Mapping[str, Any]) -> str:
    scopes = _short_scopes(token.get("scopes") or ())
    gone = " (revoked)" if token.get("revokedAtMs") else ""
    return f"{token.get('role')}{gone}" + (f": {scopes}" if scopes else "")


@command("list", "peergate devices list", "peergate devices list --json")
def list_devices(run: Invocation) -> None:
    """List devices that wait and devices that are paired. --json prints {pending, paired, damaged?}."""
    show_all(run)


@command("approve", "peergate devices approve --latest", "peergate devices approve 6d96371b")
@click.argument("request", metavar="[ID]", required=False)
@click.option("--latest", is_flag=True, help="The one that waits; refused when several do.")
def approve(run: Invocation, request: str | None, latest: bool) -> None:
    """Let a device in with all that it asks for.

    What is approved is what was listed a moment ago: a request that has changed since is refused. --latest, or no ID,
    takes the request that waits when it is the only one, because the newest need not be the one you expect."""
    if request is not None and latest:
        raise click.UsageError("give an ID or --latest, not both")
    pending = list(ask(run.doors, "device.pair.list").get("pending") or ())
    one = _only(pending) if request is None else _named(pending, "requestId", request, "request waits")
    params = {"requestId": one["requestId"], "digest": one["digest"]}
    told = ask(run.doors, "device.pair.approve", params, patience=0)
    run.answer(told, lambda: f"approved: {_who(one)} is {_wants(one)} from now on")


def _only(pending: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    if not pending:
        raise CliError("no device waits to be paired", fix="connect with the device first, or invite it: peergate qr")
    if len(pending) > 1:
        listed = "\n".join(f"  {_who(each)}, {_wants(each)}" for each in pending)
        commands = "\n  ".join(f"peergate devices approve {each['requestId']}" for each in pending)
        raise CliError(f"{len(pending)} devices wait; approve the one you mean by its id:\n{listed}", fix=commands)
    return pending[0]


def _who(each: Mapping[str, Any]) -> str:
    name = f' "{one_line(each["displayName"])}"' if each.get("displayName") else ""
    return f"device {str(each.get('deviceId'))[:SHORT]}{name} at {one_line(each.get('remoteIp'))}"


def _named(found: Sequence[Mapping[str, Any]], key: str, given: str, what: str) -> Mapping[str, Any]:
    """The only one whose id begins so."""
    exact = [each for each in found if each.get(key) == given]
    near = exact or [each for each in found if len(given) >= FEWEST and str(each.get(key)).startswith(given)]
    if len(near) == 1:
        return near[0]
    if near:
        raise CliError(f"{len(near)} ids begin with {given}; type more of it", fix="peergate devices list")
    raise CliError(f"no {what} with the id {given}", fix="peergate devices list")


@command("reject", "peergate devices reject 6d96371b")
@click.argument("request", metavar="ID")
def reject(run: Invocation, request: str) -> None:
    """Turn a waiting device away. It may ask again."""
    one = _named(ask(run.doors, "device.pair.list").get("pending") or (), "requestId", request, "request waits")
    told = ask(run.doors, "device.pair.reject", {"requestId": one["requestId"]}, patience=0)
    run.answer(told, lambda: f"rejected: {_who(one)}")


def _device(run: Invocation, given: str) -> str:
    """The id of a paired device, or of one whose record is damaged."""
    told = ask(run.doors, "device.pair.list")
    everyone = [*(told.get("paired") or ()), *(told.get("damaged") or ())]
    return str(_named(everyone, "deviceId", given, "device is paired")["deviceId"])


@command("remove", "peergate devices remove 56475aa75463")
@click.argument("device", metavar="DEVICE")
def remove(run: Invocation, device: str) -> None:
    """Take a device away: its connections end, its tokens are worth nothing, and it has to be paired anew."""
    told = ask(run.doors, "device.pair.remove", {"deviceId": _device(run, device)}, patience=0)
    run.answer(told, lambda: f"removed: {told['deviceId'][:SHORT]}")


@command("rename", 'peergate devices rename 56475aa75463 "Kitchen tablet"')
@click.argument("device", metavar="DEVICE")
@click.argument("label", metavar="NAME")
def rename(run: Invocation, device: str, label: str) -> None:
    """Give a device a name (1 to 64 characters)."""
    told = ask(run.doors, "device.pair.rename", {"deviceId": _device(run, device), "label": label}, patience=0)
    run.answer(told, lambda: f"{told['deviceId'][:SHORT]} is called {told['label']}")


@command("rotate", "peergate devices rotate 56475aa75463", "peergate devices rotate 56475aa75463 --scope operator.read")
@click.argument("device", metavar="DEVICE")
@click.option("--role", type=ROLES, default="operator", show_default=True)
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="What the new token may do (may be repeated).")
def rotate(run: Invocation, device: str, role: str, scopes: tuple[str, ...]) -> None:
    """Give a device's role a new token. Its connections end; it gets the token when it connects with the shared secret.

    The token itself is told to nobody but the device."""
    params: dict[str, Any] = {"deviceId": _device(run, device), "role": role}
    if scopes:
        params["scopes"] = list(scopes)
    told = ask(run.doors, "device.token.rotate", params, patience=0)
    run.answer(told, lambda: f"rotated: {told['deviceId'][:SHORT]} {role}: {_short_scopes(told.get('scopes') or ())}")


@command("revoke", "peergate devices revoke 56475aa75463", "peergate devices revoke 56475aa75463 --role node")
@click.argument("device", metavar="DEVICE")
@click.option("--role", type=ROLES, default="operator", show_default=True)
def revoke(run: Invocation, device: str, role: str) -> None:
    """End a device's role: its connections end, and it has to ask again."""
    params = {"deviceId": _device(run, device), "role": role}
    told = ask(run.doors, "device.token.revoke", params, patience=0)
    run.answer(told, lambda: f"revoked: {told['deviceId'][:SHORT]} {role}")


@command("clear", "peergate devices clear --pending --yes", "peergate devices clear --yes")
@click.option("--pending", "only_pending", is_flag=True, help="Only reject who waits; keep who is paired.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(run: Invocation, only_pending: bool, yes: bool) -> None:
    """Remove every paired device and reject every request."""
    told = ask(run.doors, "device.pair.list")
    waiting = [str(each["requestId"]) for each in told.get("pending") or ()]
    everyone = [*(told.get("paired") or ()), *(told.get("damaged") or ())]
    paired = [] if only_pending else [str(each["deviceId"]) for each in everyone]
    what = f"{len(waiting)} requests" + ("" if only_pending else f" and {len(paired)} devices")
    if not yes:
        raise CliError(f"this would take away {what}", fix="say --yes to do it")
    for request in waiting:
        ask(run.doors, "device.pair.reject", {"requestId": request}, patience=0)
    for device in paired:
        ask(run.doors, "device.pair.remove", {"deviceId": device}, patience=0)
    run.answer({"rejected": waiting, "removed": paired}, lambda: f"taken away: {what}")


for each in (list_devices, approve, reject, remove, rename, rotate, revoke, clear):
    _devices.add_command(each)
