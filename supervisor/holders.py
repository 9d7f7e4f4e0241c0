"""Who holds the peer's end of a TCP connection that comes from this host? The supervisor's answer to the gateway.

Owns: the verdict, and the look through /proc it stands on. It only ever takes rights away: a peer that is not found to
be ours has shown nothing by that, and goes on to prove itself like one from the network.

| peer's address | its socket, as the kernel tells it | who was found to hold it | verdict |
|---|---|---|---|
| not this host's | none | – | remote |
| this host's | none established with these two ends (address translation, closed by now) | – | unknown |
| any | there | one of ours, also beside others | ours |
| any | made in a control group of one of our workers | whoever | ours |
| any | there | others only | outside |
| any | there, of another account than any of ours can have | nobody: not ours to look into | outside |
| any | there | nobody: in flight between processes, hidden in io_uring, gone | unknown |
| any | the kernel or /proc does not answer | – | unknown |

*Ours* is what `whois` says: in the spawn table, a descendant, or marked. A socket may have several holders (fork,
SCM_RIGHTS), so everybody is looked at, and every thread: one may have descriptors of its own (unshare(CLONE_FILES)).
A uid is told only where it says who is behind the socket: that of every holder, in our own PID namespace; and never
root's when the holder was not found: that may be any proxy (docker-proxy, tailscaled, a container in our network)."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass

import trio

from supervisor import diag, kernel, netlink
from supervisor.addresses import unmapped
from supervisor.cgroups import Cgroups
from supervisor.messages import Held, WhoHolds
from supervisor.settings import UidRange
from supervisor.whois import Who, Whois

MAX_WAITING = 512
"""Questions that may wait for the next look; more are unknown at once. A gateway has far fewer sockets that have not
proved themselves."""
OVERFLOW_UID = 65534  # what the kernel shows for a uid our user namespace does not know


@dataclass(frozen=True, slots=True)
class Holder:
    """One process that has the socket: as whom `whois` knows it, its effective uid (-1 where that counts for
    nothing)."""

    pid: int
    who: Who
    uid: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a verdict stands on. `local`: the address is this host's. `grouped`: the socket was made in a control
    group of one of our workers. `our_uids`: the accounts our processes can have; None for any, as root's can."""

    local: bool
    socket: diag.Socket | None
    holders: tuple[Holder, ...] = ()
    grouped: bool = False
    our_uids: Container[int] | None = ()


def judge(id: int, facts: Facts) -> Held:
    """The verdict of the table above. Pure."""
    found, holders = facts.socket, facts.holders
    if found is None:
        if facts.local:
            return Held(id, "unknown", detail="an address of this host, and no established connection of its own")
        return Held(id, "remote")
    cookie, pids = f"{found.cookie:x}", [holder.pid for holder in holders]
    for holder in holders:
        if holder.who.kind != "none":
            return _ours(id, holder, pids, cookie)
    if facts.grouped:
        return Held(id, "ours", pids=pids, cookie=cookie, detail="made in a worker's control group")
    if holders:
        told = found.uid if all(holder.uid == found.uid for holder in holders) else -1
        return Held(id, "outside", told, pids, cookie)
    if facts.our_uids is None or found.uid in facts.our_uids or found.uid == OVERFLOW_UID:
        return Held(id, "unknown", found.uid, cookie=cookie, detail=f"nobody was found to hold it (uid {found.uid})")
    told = -1 if found.uid == 0 else found.uid
    return Held(id, "outside", told, cookie=cookie, detail=f"held by uid {found.uid}, where we may not look")


def _ours(id: int, holder: Holder, pids: list[int], cookie: str) -> Held:
    spawn = holder.who.spawn
    agent, session = (spawn.agent, spawn.session) if spawn is not None else ("", "")
    detail = holder.who.detail or f"pid {holder.pid} is a {holder.who.kind}"
    return Held(id, "ours", holder.uid, pids, cookie, agent, session, detail)


# --- looking ----------------------------------------------------------------------------------------------------------


Place = str
"""Where a process has a socket: the path of the descriptor below /proc. It may have more of it."""


def scan(inodes: Collection[int]) -> dict[int, dict[int, Place]]:
    """The processes that hold these sockets, by inode, and where each has it, as far as we may look. Some 20
    microseconds for each process."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, dict[int, Place]] = {inode: {} for inode in inodes}
    if not wanted:
        return found
    for pid in set(kernel.all_pids()) - kernel.kernel_threads():
        for inode, place in _held_by(pid, wanted).items():
            found[inode][pid] = place
    return found


def _held_by(pid: int, wanted: Mapping[str, int]) -> dict[int, Place]:
    """Which of these a process has, in any of its threads; nothing where we may not look."""
    held: dict[int, Place] = {}
    try:
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return held
    for thread in threads:
        if thread != threads[0] and kernel.share_files(threads[0], thread):
            continue  # almost always: its descriptors have been looked at
        path = f"/proc/{pid}/task/{thread}/fd"
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            for name in os.listdir(directory):
                if (inode := wanted.get(_link(name, directory))) is not None:
                    held[inode] = f"{path}/{name}"
        except OSError:  # not ours to look into (ptrace(2), access mode checking), or gone
            continue
        finally:
            os.close(directory)
    return held


def _still_has(pid: int, inode: int, place: Place) -> bool:
    """Whether a process has a socket now. One look where it was suffices, unless it was moved: then at everything."""
    name = f"socket:[{inode}]"
    try:
        if os.readlink(place) == name:
            return True
    except OSError:  # closed there, or that thread has ended
        pass
    return bool(_held_by(pid, {name: inode}))


def _link(name: str, directory: int) -> str:
    """What a descriptor is, "" for one that has just been closed. Raises PermissionError: for one of a process it
    comes for all."""
    try:
        return os.readlink(name, dir_fd=directory)
    except FileNotFoundError:
        return ""


def who_listens(port: int) -> str:
    """Who listens on a TCP port of this host, for people: "pid 7 (nginx, uid 33)"; "" when nobody is found."""
    try:
        sockets = diag.listening(port)
    except OSError:
        return ""
    holders = scan({one.inode for one in sockets})
    named = [f"pid {pid} ({_command(pid)}, uid {one.uid})" for one in sockets for pid in list(holders[one.inode])[:3]]
    return ", ".join(dict.fromkeys(named or [f"a program of uid {one.uid}" for one in sockets]))


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "gone by now"


class Holders:
    """Answers questions about peers. `our_uids` are the accounts our processes can have (None: any), `cgroups`
    hold our workers' groups, if there are any."""

    def __init__(
        self,
        whois: Whois,
        our_uids: Container[int] | None,
        cgroups: Cgroups | None = None,
    ) -> None:
        self._whois, self._our_uids, self._cgroups = whois, our_uids, cgroups
        self._addresses = netlink.OwnAddresses()
        self._waiting: list[tuple[WhoHolds, Callable[[Held], None]]] = []
        self._asked = trio.Event()

    def request(self, question: WhoHolds, answer: Callable[[Held], None]) -> None:
        """Have `answer` called with the verdict, later, in Trio's thread."""
        if len(self._waiting) >= MAX_WAITING:
            return answer(Held(question.id, "unknown", detail=f"{MAX_WAITING} questions are waiting"))
        self._waiting.append((question, answer))
        self._asked.set()

    async def serve(self) -> None:
        """Answer what is asked, for ever. All that waits is answered by one look, so a flood of peers costs no more
        than one; what is asked during a look waits for the next, because a look that began before proves nothing."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            waiting, self._waiting = self._waiting, []
            verdicts = await trio.to_thread.run_sync(self.decide, [question for question, _ in waiting])
            for (_, answer), verdict in zip(waiting, verdicts, strict=True):
                answer(verdict)

    def decide(self, questions: Iterable[WhoHolds]) -> list[Held]:
        """The verdicts, in order. Blocking, and for one thread at a time: microseconds for remote peers, a few
        milliseconds for one look through /proc."""
        asked = [(question.id, look_up(question, self._addresses)) for question in questions]
        try:
            held = scan({found.inode for _, (_, found) in asked if isinstance(found, diag.Socket)})
        except OSError as error:
            return [Held(id, "unknown", detail=f"/proc cannot be read: {error}") for id, _ in asked]
        return [self._verdict(id, local, found, held) for id, (local, found) in asked]

    def _verdict(
        self, id: int, local: bool, found: diag.Socket | OSError | ValueError | None, held: dict[int, dict[int, Place]]
    ) -> Held:
        if isinstance(found, Exception):
            return Held(id, "unknown", detail=f"the kernel does not say who holds it: {found}")
        if found is None:
            return judge(id, Facts(local, None))
        try:
            places = held[found.inode].items()
            looked_at = (self._holder(pid, found.inode, place) for pid, place in places)
            holders = tuple(one for one in looked_at if one is not None)
            grouped = self._cgroups is not None and found.cgroup in worker_groups(self._cgroups.path)
            return judge(id, Facts(local, found, holders, grouped, self._our_uids))
        except OSError as error:  # out of descriptors: who it is cannot be told now
            return Held(id, "unknown", detail=f"its holders cannot be looked at: {error}")

    def _holder(self, pid: int, inode: int, place: Place) -> Holder | None:
        """The process with this number, if it still has the socket; None when it ended or let go meanwhile."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        try:
            who = self._whois.identify(pidfd, pid)
            uid = _uid_that_counts(pid)
            if not _still_has(pid, inode, place) or kernel.has_ended(pidfd):
                return None  # what was read by number counts only if it still was this process's
            return Holder(pid, who, uid)
        finally:
            os.close(pidfd)


def look_up(
    question: WhoHolds, addresses: netlink.OwnAddresses
) -> tuple[bool, diag.Socket | OSError | ValueError | None]:
    """Whether the peer's address is this host's, and its socket, or why the kernel does not say."""
    ours, peer = (question.local_host, question.local_port), (question.remote_host, question.remote_port)
    try:
        found = diag.established(peer, ours)
        local = found is not None or netlink.is_local(_without_mapping(peer[0])) or _is_of_interface(peer[0], addresses)
        return local, found
    except (OSError, ValueError) as error:
        return True, error


def _without_mapping(host: str) -> str:
    bare, percent, scope = host.partition("%")
    return unmapped(bare) + percent + scope


def _is_of_interface(host: str, addresses: netlink.OwnAddresses) -> bool:
    """Whether an interface has the address, whatever the routes say."""
    return unmapped(host.partition("%")[0]) in addresses.now()


def _uid_that_counts(pid: int) -> int:
    """The effective uid of a process of our own PID namespace; -1 for one of another, whose numbers are its own."""
    try:
        with open(f"/proc/{pid}/status", errors="replace") as file:
            status = dict(line.partition(":")[::2] for line in file)
    except OSError:
        return -1
    uids, numbers = status.get("Uid", "").split(), status.get("NSpid", "").split()
    return int(uids[1]) if len(uids) == 4 and len(numbers) == 1 else -1


def possible_uids(own: int, agents: UidRange | None) -> Container[int] | None:
    """The accounts a process of ours can have: the supervisor's and the agents' own. None, which is any, when agents
    run as root; anybody else cannot change his (no_new_privs)."""
    if own != 0:
        return {own}
    return None if agents is None else {0, *agents.members}


def worker_groups(delegated: str) -> set[int]:
    """What the kernel numbers our workers' control groups by: the inodes of the directories of and below each."""
    found: set[int] = set()
    try:
        tops = [entry.path for entry in os.scandir(delegated) if entry.name.startswith("worker-")]
        for top in tops:
            found.update(os.stat(place).st_ino for place, _, _ in os.walk(top))
    except FileNotFoundError:  # a worker ended meanwhile, and with it everything in its group
        return found
    return found
