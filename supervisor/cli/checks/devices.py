"""Checks of pairing: is every record whole, and does somebody wait."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.cli.asking import ask
from supervisor.cli.checks.base import FAIL, OK, WARN, Check
from supervisor.cli.errors import CliError
from supervisor.cli.invocation import Invocation


def checks(run: Invocation) -> Iterator[Check]:
    """One line for all, one for each damaged record; nothing when nobody can be asked, which other checks tell."""
    try:
        told = ask(run.doors, "device.pair.list", patience=0)
    except CliError:
        return
    waiting, paired = len(told.get("pending") or ()), len(told.get("paired") or ())
    found = f"{paired} paired, {waiting} waiting"
    yield Check("devices", WARN if waiting else OK, found, "peergate devices list")
    for each in told.get("damaged") or ():
        name = str(each.get("deviceId"))
        found = f"the record of {name} is damaged ({each.get('error')}); it is not paired"
        yield Check("devices", FAIL, found, f"peergate devices remove {name}; pair it anew")
