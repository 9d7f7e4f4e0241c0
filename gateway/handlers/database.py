"""The database: backup and check."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.auth.principal import Kind
from gateway.protocol.calls.database import Backup, Checked, DatabaseBackup
from gateway.protocol.errors import forbidden, invalid
from gateway.router import Call, Handler
from gateway.store.backup import BackupFailed, NoPlace


async def database_backup(call: Call) -> Backup:
    params: DatabaseBackup = call.params
    who = call.principal
    # The file is written with our rights: nobody may use them who has not got them, or sees another file system.
    if who.kind is not Kind.OPERATOR or who.uid not in (0, os.geteuid()):
        raise forbidden(f"only uid 0 and uid {os.geteuid()}, the owner, may name a file for the gateway to write")
    path = Path(params.path)
    if not path.is_absolute() or "\0" in params.path:
        raise invalid(f'a backup needs an absolute path, "{params.path[:256]}" is none')
    try:
        made = await call.services.database.copy(path, force=params.force)
    except NoPlace as error:
        raise invalid(f"{error} (the gateway writes it, as uid {os.geteuid()})") from None
    except BackupFailed as error:
        raise invalid(f"{error}; see peergate doctor") from None
    return Backup(made.path, made.bytes, made.schema, made.seconds)


async def database_check(call: Call) -> Checked:
    database = call.services.database
    findings = await database.check()
    return Checked(not findings, str(database.path), tuple(findings))


HANDLERS: dict[str, Handler] = {"database.backup": database_backup, "database.check": database_check}
