"""`peergate qr`: an approval given beforehand, as a code to scan or to type.

Owns the picture on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from supervisor.cli.asking import ask
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import clock, one_line

ACCESS = {
    "full": "everything an operator may, and what a node does",
    "limited": "read, write, decide approvals and answer questions; no administration",
    "node": "be a node: offer what it can do; it reads nothing and commands nothing",
}
BORDER = 2
"""Light modules around the picture; the standard says four, readers are content with two."""


@command(
    "qr", "peergate qr", "peergate qr --profile node", "peergate qr --public-url wss://home.example.org:18789 --json",
)  # fmt: skip
@click.option("--public-url", metavar="URL", help="The address the device shall use, when it is not one of ours.")
@click.option(
    "--profile", type=click.Choice(tuple(ACCESS)), default="limited", show_default=True, help="What the device may do."
)
def qr(run: Invocation, public_url: str | None, profile: str) -> None:
    """Print a setup code. The first device that uses it within ten minutes is paired; it is worth nothing to others.

    Whoever sees the code can be that device: show it to nobody else. --json prints {setupCode, setupId, gatewayUrl,
    access, expiresAtMs, …}."""
    params: dict[str, Any] = {"bootstrapProfile": profile, "includeQr": False}
    if public_url:
        params["publicUrl"] = public_url
    told = ask(run.doors, "device.pair.setupCode", params, patience=0)
    run.answer(told, lambda: setup_text(told))


def setup_text(told: dict[str, Any]) -> str:
    """The picture, the code, and what it gives."""
    code, access = str(told["setupCode"]), str(told.get("access"))
    urls = told.get("gatewayUrls") or [told.get("gatewayUrl")]
    lines = [
        picture(code), "", f"setup code: {code}", "",
        f"address:    {', '.join(one_line(url) for url in urls)}",
        f"access:     {access}: {ACCESS.get(access, '')}",
        f"good until: {clock(told.get('expiresAtMs'))}, for the first device that uses it",
    ]  # fmt: skip
    if told.get("accessDowngraded"):
        lines.append("not full:   what goes to this address could be read on the way; full access needs wss://")
    return "\n".join(lines)


def picture(text: str) -> str:
    """A QR code of half blocks, light on dark, so that it can be read from a terminal of either colour."""
    import segno  # a twentieth of a second, for this command alone

    return draw([list(row) for row in segno.make(text, error="l").matrix_iter(border=BORDER)])


def draw(rows: Sequence[Sequence[int]]) -> str:
    """Two rows of modules in each line; a dark module is left empty."""
    even = [*rows, [1] * len(rows[0])] if len(rows) % 2 else rows
    return "\n".join(_line(zip(even[at], even[at + 1], strict=True)) for at in range(0, len(even), 2))


def _line(pairs: Iterable[tuple[int, int]]) -> str:
    return "".join("█▀▄ "[2 * bool(upper) + bool(lower)] for upper, lower in pairs)
