"""`peergate version`: ours, the interpreter's, the wire's."""

from __future__ import annotations

import platform
from importlib import metadata

from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import pairs

LIBRARIES = ("trio", "msgspec", "msgpack", "click")


def own_version() -> str:
    """Of the installed distribution."""
    return version_of("peergate")


def version_of(distribution: str) -> str:
    """Of any distribution; "not installed" when it is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


@command("version", "peergate version", "peergate version --json")
def version(run: Invocation) -> None:
    """Print versions: peergate, Python, the protocol, the kernel, the libraries it stands on."""
    from gateway.protocol.limits import PROTOCOL_VERSION

    told: dict[str, object] = {"peergate": own_version(), "python": platform.python_version()}
    told |= {"protocol": PROTOCOL_VERSION, "kernel": platform.release()}
    told["libraries"] = {name: version_of(name) for name in LIBRARIES}
    run.answer(told, lambda: pairs({name: _words(value) for name, value in told.items()}))


def _words(value: object) -> object:
    return ", ".join(f"{name} {number}" for name, number in value.items()) if isinstance(value, dict) else value
