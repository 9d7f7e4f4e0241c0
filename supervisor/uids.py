"""Which agent has which uid, for ever: `<state>/uids.json`, and an empty house before a uid is used.

Owns: that file. A uid once given to an agent is never given to another, also when the agent is gone from the
configuration: its files may still lie around. Numbers of a range that is no longer configured stay taken."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable

from supervisor import kernel
from supervisor.settings import UidRange
from supervisor.wholefile import replace_file

NAME = "uids.json"
ROUNDS = 50


class NoUid(Exception):
    """The range is used up, or the table cannot be read; the text names the key and the fix."""


class Uids:
    """The table of one state directory."""

    def __init__(self, state_dir: str) -> None:
        self._path = os.path.join(state_dir, NAME)
        self._table = self._read()
        self._emptied: set[int] = set()

    def uid_of(self, agent: str, uids: UidRange) -> int:
        """The agent's uid; the lowest that nobody ever had, when it has none in this range. It is on disk before it is
        returned. Raises NoUid, OSError."""
        uid = self._table.get(agent)
        if uid is not None and uid in uids:
            return uid
        taken = set(self._table.values())
        free = (number for number in range(uids.first, uids.first + uids.count) if number not in taken)
        uid = next(free, None)
        if uid is None:
            raise NoUid(
                f"all {uids.count} uids of supervisor.uids have been given to agents: raise supervisor.uids.count"
            )
        table = {**self._table, agent: uid}
        if (old := self._table.get(agent)) is not None:  # of an earlier range: taken, under a name no agent can have
            table[f"{agent}@{old}"] = old
        self._write(table)
        self._table = table
        return uid

    def empty_once(self, uid: int) -> list[int]:
        """Before this supervisor's first use of a uid: kill whatever still runs under it. Returns what was killed. Does
        not wait long: a killed process keeps its uid until it is reaped, but runs no more. Raises OSError when it
        cannot be done."""
        if uid in self._emptied:
            return []
        killed = kill_all_of(uid)
        self._emptied.add(uid)
        return killed

    def _read(self) -> dict[str, int]:
        try:
            with open(self._path, encoding="utf-8") as file:
                table = json.load(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise NoUid(
                f"{self._path} cannot be read ({error}): a uid must not go to two agents, so mend or restore it"
            ) from None
        if not isinstance(table, dict) or not all(isinstance(uid, int) for uid in table.values()):
            raise NoUid(f"{self._path} is no table of agents and numbers: mend or restore it")
        return table

    def _write(self, table: dict[str, int]) -> None:
        replace_file(self._path, json.dumps(table, indent=1, sort_keys=True) + "\n", mode=0o600, durable=True)


def _of_uid(uid: int, pids: Iterable[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            if os.stat(f"/proc/{pid}").st_uid == uid or _status_uid(pid) == uid:
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _status_uid(pid: int) -> int | None:
    """The real uid: /proc/PID of a non-dumpable process belongs to root."""
    with open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"Uid:"):
                return int(line.split()[1])
    return None


def _running(pid: int) -> bool:
    stat = kernel.stat_of(pid)
    return stat is not None and stat.state not in "ZX"


def kill_all_of(uid: int, pids: Callable[[], Iterable[int]] = kernel.all_pids) -> list[int]:
    """SIGKILL every process of a uid until a look finds none that runs. Raises OSError when some cannot be got rid
    of."""
    killed: list[int] = []
    running: list[int] = []
    for _ in range(ROUNDS):
        running = [pid for pid in _of_uid(uid, pids()) if _running(pid)]
        if not running:
            return killed
        for pid in running:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            if pid not in killed:  # it may take more than a look until it has ended
                killed.append(pid)
    raise OSError(f"processes of uid {uid} do not end: {running}")
