"""The Unix doors: a directory nobody else can change, and listening sockets in it that are held for the system's whole
life.

Owns: both. Gateways only accept from the sockets and close them; who holds them here keeps the doors open while a
gateway restarts. A door is bound beside its name, given its mode and group, made to listen and then renamed into place,
so that nobody ever finds it half made, and a stale one is replaced in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BACKLOG = 128
"""More makes a flooded door slower for everybody: at 4096 a connect took 446 ms, at 128 17 ms (Linux 6.18)."""
MAX_PATH_BYTES = 107
"""sun_path of unix(7), less its final zero: what a client can connect to."""


class UnsafePlace(Exception):
    """A directory or path we will not use; says what is wrong and what would mend it."""


@dataclass(frozen=True, slots=True)
class Door:
    """One listening socket: its name in messages, its path below the runtime directory, who may connect."""

    name: str
    path: str
    mode: int = 0o600
    gid: int | None = None
    group_key: str = ""
    """The configuration key `gid` comes from."""
    directory_mode: int = 0o755
    """Of the subdirectory, if the path names one."""
    uids: tuple[int, ...] = ()
    """Who may connect beside owner and group: whom the configuration lets in the file must not keep out."""


@dataclass(slots=True)
class _Bound:
    door: Door
    path: str
    directory: int
    listener: socket.socket
    identity: tuple[int, int]


def open_directory(path: str, mode: int = 0o711) -> int:
    """Create a directory if it is missing, and open it if it is safe: a real directory, ours, which nobody else can
    write to, and so every parent, a sticky one such as /tmp excepted. Gives a descriptor. Raises UnsafePlace,
    OSError."""
    path = os.path.abspath(path)
    parent = os.path.dirname(path)
    os.makedirs(parent, mode=0o755, exist_ok=True)
    check_parents(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode)
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise UnsafePlace(
            f"{path} is a file or a symbolic link, not a directory; remove it or choose another place"
        ) from None
    try:
        _check_own(path, os.fstat(directory))
        os.fchmod(directory, mode)
    except BaseException:
        os.close(directory)
        raise
    return directory


def _check_own(path: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise UnsafePlace(
            f"{path} belongs to uid {found.st_uid}, not to us (uid {os.geteuid()}); remove it or choose another place"
        )
    if found.st_mode & 0o022:
        raise UnsafePlace(
            f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):04o}); run: chmod go-w {path}"
        )


def check_parents(path: str) -> None:
    """Every directory from here up belongs to root or us, and others cannot rename what is in it. Raises UnsafePlace,
    OSError."""
    place = os.path.realpath(path)
    while True:
        found = os.stat(place)
        if found.st_uid not in (0, os.geteuid()):
            raise UnsafePlace(
                f"{place} belongs to uid {found.st_uid}, who could replace what lies in it; choose another place"
            )
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            raise UnsafePlace(
                f"{place} can be written by others, who could replace what lies in it; run: chmod go-w {place}"
            )
        if place == os.path.dirname(place):
            return
        place = os.path.dirname(place)


class Doors:
    """The open doors, by name. Make them with `Doors.open`."""

    def __init__(self, runtime_dir: str) -> None:
        self.runtime_dir = os.path.abspath(runtime_dir)
        self._bound: dict[str, _Bound] = {}

    @classmethod
    def open(cls, runtime_dir: str, doors: Sequence[Door]) -> Doors:
        """Open the directory and every door in it, replacing stale sockets. Raises UnsafePlace, OSError; then nothing
        stays open."""
        opened = cls(runtime_dir)
        try:
            os.close(open_directory(opened.runtime_dir))
            for door in doors:
                opened._bound[door.name] = opened._bind(door)
        except BaseException:
            opened.close()
            raise
        return opened

    @property
    def listeners(self) -> dict[str, socket.socket]:
        """The listening sockets, in the order of the doors. Ours: send duplicates, never shut one down."""
        return {name: bound.listener for name, bound in self._bound.items()}

    def check(self, complain: Callable[[UnsafePlace | OSError], None]) -> list[str]:
        """Open again every door that was shut down by somebody who holds it, unlinked or replaced; gives their names. A
        gateway must be given the new sockets. `complain` hears why one cannot be opened; the others are."""
        opened: list[str] = []
        for name in [name for name, bound in self._bound.items() if not _is_open(bound)]:
            try:
                self._open_again(name)
            except (UnsafePlace, OSError) as error:
                complain(error)
            else:
                opened.append(name)
        return opened

    def _open_again(self, name: str) -> None:
        old = self._bound[name]
        os.close(open_directory(self.runtime_dir))
        self._bound[name] = self._bind(old.door)
        old.listener.close()
        os.close(old.directory)

    def close(self) -> None:
        """Close the doors and unlink those that are still ours."""
        for bound in self._bound.values():
            with contextlib.suppress(FileNotFoundError):
                if _identity(bound) == bound.identity:
                    os.unlink(os.path.basename(bound.door.path), dir_fd=bound.directory)
            bound.listener.close()
            os.close(bound.directory)
        self._bound.clear()

    def _bind(self, door: Door) -> _Bound:
        path = os.path.join(self.runtime_dir, door.path)
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise UnsafePlace(
                f"the socket path {path} has {len(os.fsencode(path))} bytes and clients can use {MAX_PATH_BYTES}; "
                "choose a shorter runtime directory (--runtime-dir)"
            )
        nested = os.path.dirname(door.path)
        directory = open_directory(os.path.dirname(path), door.directory_mode if nested else 0o711)
        try:
            listener = _listen(directory, os.path.basename(path), door)
        except BaseException:
            os.close(directory)
            raise
        bound = _Bound(door, path, directory, listener, (0, 0))
        bound.identity = _identity(bound)
        return bound


def _listen(directory: int, name: str, door: Door) -> socket.socket:
    """A listening socket under this name in this directory, whatever was there before, unless that is no socket."""
    beside = f".{name}.new"
    _clear(directory, beside)
    _refuse_other_files(directory, name, door)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # nobody else may connect between bind and chmod, whatever the umask
        listener.bind(
            f"/proc/self/fd/{directory}/{beside}"
        )  # through the descriptor: the directory we checked, at any length
        os.chmod(beside, door.mode, dir_fd=directory)
        if door.gid is not None:
            _give_to_group(directory, beside, door, door.gid)
        if door.uids:
            _admit(f"/proc/self/fd/{directory}/{beside}", door)
        listener.setblocking(False)  # shared with whoever accepts: a connection gone before accept must not hold them
        listener.listen(BACKLOG)
        os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        listener.close()
        _clear(directory, beside)
        raise
    return listener


def _give_to_group(directory: int, name: str, door: Door, gid: int) -> None:
    try:
        os.chown(name, -1, gid, dir_fd=directory, follow_symlinks=False)
    except PermissionError:
        # chown(2): only root, or an owner who is in the group.
        raise UnsafePlace(
            f"{door.group_key}: {door.path} cannot be given to group {gid}, because uid {os.geteuid()} is neither "
            "root nor in that group; add it to the group and log in again, name a group it is in "
            f"({', '.join(map(str, sorted({os.getegid(), *os.getgroups()})))}), or leave the key out"
        ) from None


def _admit(path: str, door: Door) -> None:
    """Let the door's uids connect, by an access control list (acl(5)). Where the file system has none everybody may
    connect: who comes in is decided behind the door, from the kernel's word, and not by the file."""
    try:
        os.setxattr(path, "system.posix_acl_access", access_list(door.mode, door.uids))
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EINVAL):  # EINVAL: a uid our user namespace does not know
            raise
        os.chmod(path, door.mode | 0o666)


def access_list(mode: int, uids: Sequence[int]) -> bytes:
    """The mode's three classes, and every uid as much as the owner, as linux/posix_acl_xattr.h lays it out."""
    owner, group, others = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    named = [(0x02, owner, uid) for uid in sorted(set(uids))]
    entries = [(0x01, owner, 2**32 - 1), *named, (0x04, group, 2**32 - 1)]
    entries += [(0x10, owner | group, 2**32 - 1), (0x20, others, 2**32 - 1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def _clear(directory: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _refuse_other_files(directory: int, name: str, door: Door) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISSOCK(found.st_mode):
            raise UnsafePlace(f"{door.path} in the runtime directory is no socket, so it is not replaced; move it away")


def _identity(bound: _Bound) -> tuple[int, int]:
    found = os.stat(os.path.basename(bound.door.path), dir_fd=bound.directory, follow_symlinks=False)
    return found.st_dev, found.st_ino


def _is_open(bound: _Bound) -> bool:
    """Still accepting, and under its own name in a directory that is still in its place."""
    poll = select.poll()
    poll.register(
        bound.listener, select.POLLRDHUP
    )  # shutdown(2) by any holder; SO_ACCEPTCONN stays set on a Unix socket
    if poll.poll(0):
        return False
    try:
        found = os.stat(bound.path, follow_symlinks=False)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == bound.identity
