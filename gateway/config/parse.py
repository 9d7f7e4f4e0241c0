"""From a configuration file's text to a plain tree: TOML or JSON5, and `${VAR}` in its strings.

Pure: the text and the environment are arguments. Bounds: a text of 4 MiB, 64 levels of tables."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping

import pyjson5

from gateway.config.problem import ConfigError, Problem

MAX_TEXT = 4 * 2**20
MAX_DEPTH = 64
_VARIABLE = re.compile(r"(\$?)\$\{([A-Z_][A-Z0-9_]*)\}")
_OFFSET = re.compile(r" near (\d+)")
_SECRET_REFERENCES = ("gateway.auth.token", "gateway.auth.password")


def parse(text: str, *, toml: bool) -> dict[str, object]:
    """The tree in `text`. Raises ConfigError naming line and column where the parser knows them."""
    if len(text) > MAX_TEXT:
        raise ConfigError([Problem("", f"{len(text)} characters", f"at most {MAX_TEXT}")])
    tree = _parse_toml(text) if toml else _parse_json5(text)
    if not isinstance(tree, dict):
        raise ConfigError([Problem("", "a value that is not a table", "a table of sections, such as {gateway: {…}}")])
    if _deeper_than(tree, MAX_DEPTH):
        raise ConfigError([Problem("", "tables nested too deep", f"at most {MAX_DEPTH} levels")])
    return tree


def _parse_toml(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, _, where = str(error).rpartition(" (at ")
        raise ConfigError([Problem(where.rstrip(")"), said, "TOML 1.0")]) from None
    except (RecursionError, ValueError) as error:  # lists nested too deep; an integer of too many digits
        raise ConfigError([Problem("", f"TOML that cannot be read ({type(error).__name__})", "TOML 1.0")]) from None


def _parse_json5(text: str) -> object:
    try:
        return pyjson5.decode(text, MAX_DEPTH)
    except pyjson5.Json5Exception as error:
        said = str(error.args[0]) if error.args else type(error).__name__
        offset = _OFFSET.search(said)
        where = _line_and_column(text, int(offset[1]) - 1) if offset else ""
        plain = _OFFSET.sub("", re.sub(r"b'(\w+)'", r"\1", said))
        raise ConfigError([Problem(where, plain, "JSON5")]) from None


def _line_and_column(text: str, offset: int) -> str:
    before = text[: max(offset, 0)]
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


def _deeper_than(tree: object, limit: int) -> bool:
    """Breadth first: recursion would itself fail on the trees this refuses."""
    level = [tree]
    for _ in range(limit):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: object) -> Iterator[object]:
    if isinstance(node, dict):
        yield from node.values()
    elif isinstance(node, list):
        yield from node


def substitute(tree: dict[str, object], environ: Mapping[str, str]) -> tuple[dict[str, object], list[Problem]]:
    """`tree` with `${VAR}` replaced in every string, and one problem for each variable that is missing or empty.

    `$${VAR}` stands for the text `${VAR}`. Names are upper case, as in OpenClaw. The two gateway secrets may also be
    OpenClaw's reference `{source: "env", id: "NAME"}`."""
    problems: list[Problem] = []

    def lookup(name: str, path: str) -> str:
        value = environ.get(name, "")
        if not value:
            found = f"${{{name}}} and no such variable"
            problems.append(Problem(path, found, "a variable that is set and not empty", f"set {name}"))
        return value

    result = _replaced(tree, "", lookup)
    assert isinstance(result, dict)
    return result, problems


def _replaced(value: object, path: str, lookup: Callable[[str, str], str]) -> object:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda hit: hit[0][1:] if hit[1] else lookup(hit[2], path), value)
    if isinstance(value, list):
        return [_replaced(item, f"{path}[{index}]", lookup) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    name = value.get("id")
    if path in _SECRET_REFERENCES and value.get("source") == "env" and isinstance(name, str):
        return lookup(name, path)
    return {key: _replaced(item, f"{path}.{key}" if path else key, lookup) for key, item in value.items()}
