"""Which system a command is about when it is not this machine's: its address, and the secrets that are shown there.

Owns the flags and variables for that, and who outranks whom. Nothing here connects; what does is loaded when a command
needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from supervisor.cli.errors import NOT_RUNNING, CliError, Usage

URL, TOKEN, PASSWORD = "PEERGATE_URL", "PEERGATE_TOKEN", "PEERGATE_PASSWORD"
MAX_SECRET_BYTES = 4096
LOCAL = frozenset(
    {
        "up", "stop", "reload", "init", "config", "demo", "doctor", "backup", "restore", "recover", "cert",
        "completion", "version",
    }
)  # fmt: skip
"""Commands about this machine: its processes, its files, its software."""


class Unreachable(CliError):
    """Nobody at the address answers. Unlike NotRunning, nothing on this machine could tell more."""

    exit_code = NOT_RUNNING
    code = "UNREACHABLE"


class RemoteDoor(str):
    """An address over the network, used where the path of a door is, with what is shown there beside it: what is
    printed of it holds no secret."""

    token: str = ""
    password: str = ""
    fingerprint: str = ""


@dataclass(slots=True)
class RemoteFlags:
    """What was said on the command line about a system elsewhere."""

    url: str = ""
    token: str = ""
    token_file: str = ""
    password: str = ""
    fingerprint: str = ""


def remote_door(flags: RemoteFlags, environ: Mapping[str, str], *, here: bool) -> RemoteDoor | None:
    """The system elsewhere that is meant, or None for this machine's. `here`: a flag names this machine's.

    The flag outranks everything; PEERGATE_URL does not reach into agents, which have a door of their own
    (PEERGATE_SOCKET). Raises Usage."""
    if flags.url and here:
        raise Usage("--url and --runtime-dir name two systems; give one")
    inherited = "" if here or environ.get("PEERGATE_SOCKET") else environ.get(URL, "")
    url = flags.url or inherited
    if not url:
        if flags.token or flags.token_file or flags.password or flags.fingerprint:
            raise Usage("a secret or a fingerprint goes with --url; on this machine the kernel says who you are")
        return None
    return door_at(url, flags, environ)


def door_at(url: str, flags: RemoteFlags, environ: Mapping[str, str]) -> RemoteDoor:
    """The system at an address. Secrets in the environment are those of the address in the environment, if there is
    one: another is not shown them. Raises Usage."""
    if not url.startswith(("ws://", "wss://")):
        raise Usage(f"{url} is no address of a gateway", fix="one looks like wss://host:18789")
    door = RemoteDoor(url)
    door.fingerprint = flags.fingerprint
    given = [flag for flag in (flags.token, flags.token_file, flags.password) if flag]
    if len(given) > 1:
        raise Usage("give one secret: --token, --token-file or --password")
    if flags.token_file:
        door.token = _read_secret(flags.token_file)
    elif given:
        door.token, door.password = flags.token, flags.password
    elif environ.get(URL, url) == url:
        door.token = environ.get(TOKEN, "")
        door.password = "" if door.token else environ.get(PASSWORD, "")
    return door


def is_remote(doors: Sequence[str]) -> TypeGuard[Sequence[RemoteDoor]]:
    """Whether a system elsewhere is meant."""
    return any(isinstance(door, RemoteDoor) for door in doors)


def is_local(name: str, flags: RemoteFlags) -> bool:
    """Whether a command is about this machine only. Raises Usage when it is, and was told of another."""
    if name in LOCAL and flags != RemoteFlags():
        raise Usage(
            f"peergate {name} is about this machine: --url and what goes with it mean nothing to it",
            fix=f"to have it for another machine, run it there: peergate {name}",
        )
    return name in LOCAL


def _read_secret(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise Usage(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > MAX_SECRET_BYTES or len(text.split()) != 1:
        raise Usage(f"{path} does not hold one token on one line")
    return text
