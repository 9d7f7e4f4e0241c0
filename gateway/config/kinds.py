"""What a value of the schema may be: a walk over msgspec's type descriptions, in words a person can use.

Pure. `fits` and `describe` are two readings of one description, so what a problem calls allowed is what is accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import inspect

from gateway.config.problem import nearest
from gateway.config.settings import Settings

ROOT: inspect.StructType = inspect.type_info(Settings)  # type: ignore[assignment]
_ABSENT = inspect.NoneType()


def plain(kind: inspect.Type) -> inspect.Type:
    """`kind` without its metadata."""
    return plain(kind.type) if isinstance(kind, inspect.Metadata) else kind


def members(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    """The alternatives of a union; anything else is its own only one."""
    bare = plain(kind)
    if not isinstance(bare, inspect.UnionType):
        return (kind,)
    return tuple(each for part in bare.types for each in members(part))


def is_path(kind: inspect.Type) -> bool:
    """Whether a string of this kind names a file."""
    return isinstance(kind, inspect.Metadata) and bool((kind.extra or {}).get("path") or is_path(kind.type))


def structs_in(kind: inspect.Type) -> list[inspect.StructType]:
    """The tables `kind` may be."""
    return [bare for part in members(kind) if isinstance(bare := plain(part), inspect.StructType)]


def is_text(value: str) -> bool:
    """Whether a string can leave this process: no NUL (execve(2)), no lone surrogate (bytes that are not UTF-8)."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def fits(kind: inspect.Type, value: object) -> bool:
    """Whether a plain value (neither table nor list) is of this kind."""
    match plain(kind):
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.LiteralType(values=values):
            return isinstance(value, (str, int)) and not isinstance(value, bool) and value in values
        case inspect.IntType(ge=low, le=high):
            if not isinstance(value, int) or isinstance(value, bool):
                return False
            return (low is None or value >= low) and (high is None or value <= high)
        case inspect.StrType(min_length=shortest, pattern=pattern):
            if not isinstance(value, str) or not is_text(value) or len(value) < (shortest or 0):
                return False
            return pattern is None or re.search(pattern, value) is not None
        case _:
            return False


def describe(kind: inspect.Type) -> str:
    """What `kind` allows, in words."""
    match plain(kind):
        case inspect.UnionType():
            return " or ".join(dict.fromkeys(describe(part) for part in members(kind) if plain(part) != _ABSENT))
        case inspect.LiteralType(values=values):
            return ", ".join(map(str, values)) if len(values) == 1 else f"one of {', '.join(map(str, values))}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=low, le=high):
            return _numbers(low, high)
        case inspect.StrType(min_length=shortest, pattern=pattern):
            if pattern:
                examples = _examples(kind)
                return f"a string such as {', '.join(examples)}" if examples else f"a string matching {pattern}"
            return "a string that is not empty" if shortest else "a string"
        case inspect.VarTupleType(item_type=item, min_length=least):
            return f"a list ({describe(item)}){' with something in it' if least else ''}"
        case inspect.DictType(value_type=value):
            return f"a table ({describe(value)} for each key)"
        case inspect.StructType(fields=fields):
            return f"a table ({', '.join(field.encode_name for field in fields)})"
        case _:
            return "null"


def _examples(kind: inspect.Type) -> list[str]:
    """Those written beside a pattern, which alone tells a person little."""
    beside = kind.extra_json_schema if isinstance(kind, inspect.Metadata) else None
    return [str(example) for example in (beside or {}).get("examples", ())]


def _numbers(low: int | None, high: int | None) -> str:
    if low is not None and high is not None and high < 2**62:
        return f"a whole number from {low} to {high}"
    return f"a whole number, {low} or more" if low is not None else "a whole number"


def choices(kind: inspect.Type) -> list[str]:
    """The words a literal allows."""
    literals = (bare for part in members(kind) if isinstance(bare := plain(part), inspect.LiteralType))
    return [str(value) for literal in literals for value in literal.values]


def locate(names: Sequence[str]) -> tuple[list[str], inspect.Type | None]:
    """The keys that loosely spelt `names` mean from the root down, and the kind found there (None: not in the schema).

    For the environment, where `AGENTS MAXCONCURRENT` has lost its case. Keys of open tables become lower case."""
    kind: inspect.Type | None = ROOT
    spelt: list[str] = []
    for name in names:
        key, kind = _step(kind, name)
        spelt.append(key)
    return spelt, kind


def _step(kind: inspect.Type | None, name: str) -> tuple[str, inspect.Type | None]:
    if kind is None:
        return name, None
    for table in structs_in(kind):
        fields = {field.encode_name.casefold(): field for field in table.fields}
        if field := fields.get(name.casefold()):
            return field.encode_name, field.type
        if table.tag_field and name.casefold() == table.tag_field:
            return table.tag_field, inspect.StrType()
    for part in members(kind):
        if isinstance(bare := plain(part), inspect.DictType):
            return name if any(map(str.islower, name)) else name.casefold(), bare.value_type
    return name, None


def every_key(table: inspect.StructType = ROOT, path: str = "") -> Iterator[tuple[str, str]]:
    """Every fixed key of the schema with its dotted path; an agent's id is written `<id>`."""
    for field in table.fields:
        here = f"{path}.{field.encode_name}" if path else field.encode_name
        yield field.encode_name, here
        for part in members(field.type):
            bare = plain(part)
            inner = structs_in(bare.value_type) if isinstance(bare, inspect.DictType) else structs_in(part)
            for struct in inner:
                yield from every_key(struct, f"{here}.<id>" if isinstance(bare, inspect.DictType) else here)


def elsewhere(name: str) -> str | None:
    """The one path of the schema that ends in this key, when it is written in the wrong table."""
    spelling = nearest(name, {key for key, _ in every_key()})
    paths = sorted({path for key, path in every_key() if key == spelling})
    return paths[0] if len(paths) == 1 else None
