"""The checks of `peergate doctor`, in the order they are told: machine, installation, places, configuration, outer
door, running system."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from supervisor.cli.checks import database, devices, kernel, outer, places, running, software
from supervisor.cli.checks.base import FAIL, Check
from supervisor.cli.invocation import Invocation

FAMILIES: tuple[Callable[[Invocation], Iterator[Check]], ...] = (
    software.checks,
    kernel.checks,
    places.checks,
    outer.checks,
    database.checks,
    running.checks,
    devices.checks,
)


def all_checks(run: Invocation) -> list[Check]:
    """Every check. One family that breaks is a failed check and does not hide the others."""
    done: list[Check] = []
    for family in FAMILIES:
        try:
            done.extend(family(run))
        except OSError as error:
            done.append(Check(family.__module__.rpartition(".")[2], FAIL, f"could not be finished: {error}"))
    return done
