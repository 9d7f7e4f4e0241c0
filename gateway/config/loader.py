"""Finding and reading the configuration file, and putting the whole configuration together.

Owns every file this package reads but the accounts (`resolve.py`). Order: command line, environment, file, defaults.
Relative paths in the configuration start at the file's directory, `~` is HOME."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct, structs

from gateway.config.assemble import assemble
from gateway.config.exposure import exposures
from gateway.config.layers import Layer, environment_layers, override_layers
from gateway.config.parse import MAX_TEXT, parse
from gateway.config.problem import ConfigError, Problem
from gateway.config.settings import Settings
from gateway.config.validate import Anchor

NAMES = ("peergate.toml", "peergate.json5", "openclaw.json")


class Loaded(Struct, frozen=True):
    """A configuration that can be used: the settings, what to tell the person, and the file it came from, if any."""

    settings: Settings
    warnings: tuple[str, ...]
    source: Path | None


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    root: Path = Path("/"),
) -> Loaded:
    """Read the configuration at `path`, or the one the environment or the default places name, or none at all.

    `overrides` maps dotted keys to values (text is converted). `root` is where `/etc` and the marks of a container are
    looked for. Raises ConfigError with every problem; a file named by `path` or PEERGATE_CONFIG must exist."""
    source = find(path, environ, root)
    tree, warnings = _read(source) if source else ({}, [])
    layers = [*_defaults(tree, environ, root), *environment_layers(environ), *override_layers(overrides or {})]
    anchor = _anchor(source.parent if source else None, environ)
    origin = str(source) if source else "defaults"
    settings, more = assemble(tree, layers, environ=environ, origin=origin, anchor=anchor)
    exposed = list(exposures(source, settings)) if source else []
    if exposed and settings.supervisor.uids:
        hint = "an agent could make itself an operator; move the file or close its directory"
        raise ConfigError([Problem("", said, "a file no agent can write", hint, origin) for said in exposed])
    return Loaded(settings, (*warnings, *more, *(f"{source}: {said}" for said in exposed)), source)


def find(path: Path | None, environ: Mapping[str, str], root: Path = Path("/")) -> Path | None:
    """The file to read: the named one, whether or not it exists, else the first of the default places that does."""
    named = path or (Path(environ["PEERGATE_CONFIG"]) if environ.get("PEERGATE_CONFIG") else None)
    if named:
        return _absolute(named)
    places = (directory / name for directory in _directories(environ, root) for name in NAMES)
    return next((place for place in places if os.path.lexists(place)), None)


def _absolute(path: Path) -> Path:
    try:
        return path.absolute()
    except FileNotFoundError:  # the working directory is gone; reading the path will say so in one line
        return path


def _directories(environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    base = environ.get("XDG_CONFIG_HOME", "")
    if Path(base).is_absolute():  # a relative one must be ignored (XDG Base Directory Specification 0.8)
        yield Path(base) / "peergate"
    elif environ.get("HOME"):
        yield Path(environ["HOME"]) / ".config" / "peergate"
    if os.geteuid() == 0:
        yield root / "etc" / "peergate"


def _read(source: Path) -> tuple[dict[str, object], list[str]]:
    """The tree in a file, and warnings about its permissions. Only a regular file is opened: a pipe would wait."""
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError([Problem("", "something that is not a regular file", "a TOML or JSON5 file")])
        with source.open("rb") as file:
            text = file.read(MAX_TEXT + 1).decode("utf-8-sig")
        tree = parse(text, toml=source.suffix == ".toml")
    except UnicodeDecodeError as error:
        raise _unreadable(source, Problem(f"byte {error.start}", "text that is not UTF-8", "UTF-8")) from None
    except OSError as error:
        hint = "name another with --config or PEERGATE_CONFIG"
        problem = Problem("", f"a file that cannot be read ({error.strerror})", "a readable file", hint)
        raise _unreadable(source, problem) from None
    except ConfigError as error:
        raise _unreadable(source, *error.problems) from None
    return tree, list(_permission_warnings(source, status.st_mode, tree))


def _unreadable(source: Path, *problems: Problem) -> ConfigError:
    return ConfigError([structs.replace(problem, origin=str(source)) for problem in problems])


def _permission_warnings(source: Path, mode: int, tree: dict[str, object]) -> Iterator[str]:
    if mode & stat.S_IWOTH:
        yield f"{source}: everybody may write it, so everybody may decide what runs; chmod 600 {source}"
    gateway = tree.get("gateway")
    auth = gateway.get("auth") if isinstance(gateway, dict) else None
    holds_secret = isinstance(auth, dict) and bool(auth.get("token") or auth.get("password"))
    if mode & stat.S_IROTH and holds_secret:
        yield f"{source}: holds the gateway's secret and everybody may read it; chmod 600 {source}"


def _defaults(tree: dict[str, object], environ: Mapping[str, str], root: Path) -> Iterator[Layer]:
    """The one default that depends on the machine: inside a container, loopback would be reachable by nobody."""
    gateway = tree.get("gateway", {})
    if isinstance(gateway, dict) and "bind" not in gateway and in_container(environ, root):
        yield Layer(("gateway", "bind"), "lan", "default in a container")


def in_container(environ: Mapping[str, str], root: Path = Path("/")) -> bool:
    """Whether this is the inside of a container: Docker's and Podman's marks, Kubernetes, or systemd's variable."""
    marks = (root / ".dockerenv", root / "run" / ".containerenv")
    return any(environ.get(name) for name in ("container", "KUBERNETES_SERVICE_HOST")) or any(map(Path.exists, marks))


def _anchor(base: Path | None, environ: Mapping[str, str]) -> Anchor:
    def absolute(text: str) -> str:
        if not text.startswith("~"):
            return _from(base, text)
        home = environ.get("HOME", "")
        if text[1:2] not in ("", "/") or not home:
            raise ValueError("only ~ and ~/… are known, and only where HOME is set; write the path out")
        return str(Path(home) / text[2:])

    return absolute


def _from(base: Path | None, text: str) -> str:
    if base is None and not text.startswith("/"):
        raise ValueError("without a configuration file a path must be absolute")
    return str(base / text) if base else text
