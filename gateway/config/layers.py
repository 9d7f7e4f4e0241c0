"""What stands above the file: environment variables and command line settings, laid over the tree in that order.

Pure. Owns the names of the variables, how text becomes a value, and where each value came from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pyjson5
from msgspec import Struct, inspect

from gateway.config.kinds import locate, members, plain

VARIABLES = {
    "PEERGATE_GATEWAY_PORT": "gateway.port",
    "PEERGATE_GATEWAY_BIND": "gateway.bind",
    "PEERGATE_GATEWAY_TOKEN": "gateway.auth.token",
    "PEERGATE_GATEWAY_PASSWORD": "gateway.auth.password",
    "PEERGATE_LOG_LEVEL": "logging.level",
}
"""Variables with a name of their own; every other key is `PEERGATE__SECTION__KEY`."""

_GENERIC = "PEERGATE__"


class Layer(Struct, frozen=True):
    """One value for one key, and who says so."""

    keys: tuple[str, ...]
    value: object
    origin: str

    @property
    def path(self) -> str:
        return ".".join(self.keys)


def environment_layers(environ: Mapping[str, str]) -> Iterator[Layer]:
    """The settings in an environment. An empty variable counts as absent, as compose files pass them."""
    for name, text in sorted(environ.items()):
        if not text:
            continue
        if path := VARIABLES.get(name):
            yield _from_text(path.split("."), text, f"environment {name}")
        elif name.startswith(_GENERIC):
            yield _from_text(name.removeprefix(_GENERIC).split("__"), text, f"environment {name}")


def override_layers(overrides: Mapping[str, object]) -> Iterator[Layer]:
    """The settings of a command line, by dotted key; text becomes the value the key wants."""
    for path, value in overrides.items():
        keys = path.split(".")
        if isinstance(value, str):
            yield _from_text(keys, value, "command line")
        else:
            yield Layer(tuple(locate(keys)[0]), value, "command line")


def _from_text(names: list[str], text: str, origin: str) -> Layer:
    keys, kind = locate(names)
    return Layer(tuple(keys), text if kind is None else value_of(text, kind), origin)


def value_of(text: str, kind: inspect.Type) -> object:
    """What `text` means where `kind` is wanted: text where text is allowed, else JSON5, else the text as it is."""
    parts = [plain(part) for part in members(kind)]
    if any(isinstance(part, inspect.IntType) for part in parts) and re.fullmatch(r"-?[0-9]{1,20}", text):
        return int(text)
    if any(isinstance(part, inspect.BoolType) for part in parts) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    scalar = any(isinstance(part, (inspect.StrType, inspect.LiteralType)) for part in parts)
    nested = any(isinstance(part, (inspect.StructType, inspect.DictType, inspect.VarTupleType)) for part in parts)
    if scalar and not (nested and text.lstrip()[:1] in ("[", "{")):
        return text
    try:
        return pyjson5.decode(text, 32)
    except pyjson5.Json5Exception:
        return text


def lay_over(tree: dict[str, object], layer: Layer) -> dict[str, object]:
    """`tree` with one value set; a copy. Where a plain value blocks the way the tree stays, its check will say so."""
    return _set(tree, layer.keys, layer.value)


def _set(tree: dict[str, object], keys: tuple[str, ...], value: object) -> dict[str, object]:
    head, *rest = keys
    if not rest:
        return {**tree, head: value}
    child = tree.get(head, {})
    return {**tree, head: _set(child, tuple(rest), value)} if isinstance(child, dict) else tree
