"""From a plain tree to `Settings`, or to every problem in it.

Owns the check of keys and values. It walks the schema key by key, because msgspec stops at the first error and hides
the keys of maps; at the end msgspec converts the tree, so the walk can be too strict but never too lax."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import inspect

from gateway.config.kinds import ROOT, choices, describe, elsewhere, fits, is_path, is_text, members, plain, structs_in
from gateway.config.known import known_beside
from gateway.config.problem import Problem, did_you_mean, nearest, shown
from gateway.config.rules import rule_problems
from gateway.config.settings import Settings, complete

Anchor = Callable[[str], str]


def as_it_is(path: str) -> str:
    """The anchor that leaves paths alone."""
    return path


def validate(tree: dict[str, object], anchor: Anchor = as_it_is) -> tuple[Settings | None, list[Problem]]:
    """The settings in `tree`, complete, or None and every problem found. `anchor` makes file paths absolute.

    Raises nothing for any tree: what msgspec alone refuses becomes a problem too."""
    walk = _Walk(anchor)
    clean = walk.table(ROOT, tree, "")
    if walk.problems:
        return None, walk.problems
    try:
        written = msgspec.convert(clean, Settings)
    except msgspec.ValidationError as error:
        return None, [Problem("", str(error), "what the schema says", "see `peergate config schema`")]
    settings = complete(written)
    problems = list(rule_problems(written, settings))
    return (None if problems else settings), problems


class _Walk:
    """One pass over a tree; collects problems and returns the tree with paths made absolute."""

    def __init__(self, anchor: Anchor) -> None:
        self.problems: list[Problem] = []
        self._anchor = anchor

    def table(self, kind: inspect.StructType, tree: dict[str, object], path: str) -> dict[str, object]:
        """Check a table with fixed keys."""
        fields = {field.encode_name: field for field in kind.fields}
        clean: dict[str, object] = {}
        for key, value in tree.items():
            here = f"{path}.{key}" if path else key
            if key == kind.tag_field:
                clean[key] = value
            elif key in fields:
                clean[key] = self.value(fields[key].type, value, here)
            elif here != "$schema":
                self._unknown(key, here, path, fields)
        for name, field in fields.items():
            if field.required and name not in tree:
                self._refuse(f"{path}.{name}", "nothing", describe(field.type))
        return clean

    def value(self, kind: inspect.Type, value: object, path: str) -> object:
        """Check any value against any kind, picking the alternative that has the value's shape."""
        if isinstance(value, dict):
            return self._mapping(kind, value, path)
        if isinstance(value, list):
            return self._list(kind, value, path)
        for part in members(kind):
            if fits(part, value):
                return self._absolute(value, path) if is_path(part) and isinstance(value, str) else value
        return self._refuse(path, shown(value, path), describe(kind), _hint(kind, value))

    def _mapping(self, kind: inspect.Type, value: dict[str, object], path: str) -> object:
        for part in members(kind):
            bare = plain(part)
            if isinstance(bare, inspect.DictType):
                return self._open_table(bare, value, path)
        tables = structs_in(kind)
        if len(tables) > 1:
            return self._tagged(tables, value, path)
        return self.table(tables[0], value, path) if tables else self._refuse(path, "a table", describe(kind))

    def _open_table(self, kind: inspect.DictType, tree: dict[str, object], path: str) -> dict[str, object]:
        for key in tree:
            if not fits(kind.key_type, key):
                lower = key.strip().lower().replace(" ", "-")
                hint = f'did you mean "{lower}"?' if fits(kind.key_type, lower) else ""
                self._refuse(
                    f"{path}.{key}", f'the key "{key}"', describe(kind.key_type).replace("a string", "a key", 1), hint
                )
        return {key: self.value(kind.value_type, value, f"{path}.{key}") for key, value in tree.items()}

    def _tagged(self, tables: list[inspect.StructType], tree: dict[str, object], path: str) -> object:
        field = str(tables[0].tag_field)
        tag = tree.get(field)
        for table in tables:
            if table.tag == tag:
                return self.table(table, tree, path)
        tags = [str(table.tag) for table in tables]
        found = shown(tag, path) if field in tree else "nothing"
        hint = did_you_mean(tag, tags) if isinstance(tag, str) else ""
        return self._refuse(f"{path}.{field}", found, f"one of {', '.join(tags)}", hint)

    def _list(self, kind: inspect.Type, items: list[object], path: str) -> object:
        for part in members(kind):
            bare = plain(part)
            if isinstance(bare, inspect.VarTupleType):
                if len(items) < (bare.min_length or 0):
                    return self._refuse(path, "an empty list", describe(kind))
                return [self.value(bare.item_type, item, f"{path}[{index}]") for index, item in enumerate(items)]
        return self._refuse(path, "a list", describe(kind))

    def _absolute(self, value: str, path: str) -> object:
        try:
            return self._anchor(value)
        except ValueError as error:
            return self._refuse(path, shown(value, path), "a path", str(error))

    def _refuse(self, path: str, found: str, allowed: str, hint: str = "") -> object:
        """Note a problem. The answer stands in for the value: one problem, and nothing is converted."""
        self.problems.append(Problem(path, found, allowed, hint))
        return None

    def _unknown(self, key: str, path: str, parent: str, fields: Iterable[str]) -> None:
        """The value is not shown: under a misspelt key it may be a secret."""
        if key == "$include":
            hint = "a configuration cannot be split here yet, and half of it will not be applied; put it in one file"
            self._refuse(path, "a reference to another file", "the keys themselves", hint)
            return
        meant = nearest(key, {*fields, *known_beside(parent)})
        other = None if meant else elsewhere(key)
        hint = f'did you mean "{meant}"?' if meant else f"did you mean {other}?" if other else ""
        self._refuse(path, "an unknown key", ", ".join(fields) or "no keys", hint)


def _hint(kind: inspect.Type, value: object) -> str:
    if not isinstance(value, str):
        return ""
    return did_you_mean(value, choices(kind)) if is_text(value) else "it holds a NUL or something that is not UTF-8"
