"""Checks of the installation: Python, our packages, the libraries under them."""

from __future__ import annotations

import importlib.util
import platform
import sqlite3
import sys
from collections.abc import Iterator
from importlib import metadata

from supervisor.cli.checks.base import FAIL, OK, Check
from supervisor.cli.invocation import Invocation
from supervisor.cli.version import LIBRARIES, own_version, version_of

PACKAGES = ("gateway", "supervisor", "agentproc")
OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 37)  # STRICT tables


def checks(_: Invocation) -> Iterator[Check]:
    """All of them."""
    yield _python()
    yield Check("peergate", OK, f"{own_version()} in {sys.prefix}")
    yield from map(_package, PACKAGES)
    yield _libraries()
    yield _sqlite()


def _python() -> Check:
    enough = sys.version_info >= OLDEST_PYTHON
    found = f"{platform.python_version()} ({sys.executable})"
    return Check("python", OK if enough else FAIL, found, "install Python 3.11 or newer")


def _package(name: str) -> Check:
    """PyPI has distributions named supervisor and agentproc: installed beside ours, they merge into our folders
    unseen."""
    owners = set(metadata.packages_distributions().get(name, ()))
    strangers = sorted(owners - {"peergate"})
    spec = importlib.util.find_spec(name)
    if spec is None:
        return Check(f"package {name}", FAIL, "cannot be imported", "install peergate again")
    if strangers:
        fix = "install peergate into an environment of its own, for example with pipx or uv tool"
        return Check(f"package {name}", FAIL, f"also installed by {', '.join(strangers)}", fix)
    return Check(f"package {name}", OK, str(spec.origin or spec.name))


def _libraries() -> Check:
    versions = {name: version_of(name) for name in LIBRARIES}
    missing = [name for name, version in versions.items() if version == "not installed"]
    found = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Check("libraries", FAIL if missing else OK, found, "install peergate again")


def _sqlite() -> Check:
    enough = sqlite3.sqlite_version_info >= OLDEST_SQLITE
    found = sqlite3.sqlite_version
    return Check("sqlite", OK if enough else FAIL, found, "SQLite 3.37 or newer is needed for STRICT tables")
