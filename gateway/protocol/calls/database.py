"""Rows about the database: a backup while everything goes on, and a look at every page."""

from __future__ import annotations

from gateway.protocol import scopes
from gateway.protocol.calls.row import Params, Result, Row


class DatabaseBackup(Params, frozen=True):
    """`path` is absolute, on the gateway's machine; the gateway writes it, as its own uid. `force` replaces an earlier
    copy, and nothing else."""

    path: str
    force: bool = False


class Backup(Result, frozen=True):
    """A finished, checked backup."""

    path: str
    bytes: int
    schema: int
    seconds: float


class Checked(Result, frozen=True):
    """`findings` is empty when every page is as it should be."""

    ok: bool
    path: str
    findings: tuple[str, ...] = ()


ROWS = (
    Row(
        "database.backup",
        scopes.ADMIN,
        "Copy the database to a file while everything goes on; only for uid 0 and the owner.",
        DatabaseBackup,
        Backup,
        waits=True,
    ),
    Row("database.check", scopes.ADMIN, "Read every page of the database and say what is wrong.", result=Checked,
        waits=True),
)  # fmt: skip
