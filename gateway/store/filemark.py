"""Whether the two files of the database are still where they were, and still the ones that were opened.

Owns their identity. A file that was removed, or that another one was put in place of, takes writes and `fdatasync` as
ever, and all of it is gone when the last of us closes it: SQLite looks for that with a rollback journal only
(SQLITE_READONLY_DBMOVED), not with a write-ahead log."""

from __future__ import annotations

from pathlib import Path

from gateway.protocol.errors import Refusal, unavailable
from gateway.store.examine import log_of


class FileMark:
    """The files as they were when this was made: after the first transaction, for then the log is there too."""

    def __init__(self, path: Path) -> None:
        self._files = {one: _identity(one) for one in (path, log_of(path))}

    def moved(self) -> Refusal | None:
        """What a caller is told when one of them is not there any more; None while both are. Takes 3 µs here."""
        for path, identity in self._files.items():
            found = _identity(path)
            if found != identity:
                how = "was removed" if found is None else "was replaced by another file"
                return unavailable(
                    f"nothing was stored: {path} {how} while it was in use. Put it back; or save what it held and "
                    "start with that: peergate backup FILE && peergate stop && peergate restore FILE",
                    retry_after_ms=1000, cause="moved", path=str(path.parent),
                )  # fmt: skip
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
