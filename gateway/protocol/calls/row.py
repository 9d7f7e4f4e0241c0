"""What one method is: name, who may call it, what it takes and gives. The router enforces a row; nobody else checks."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

import msgspec

from gateway.protocol.limits import MAX_ROW_BYTES, MAX_SAFE_INTEGER

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""A number of things, a position, a time: what is outside is refused with the parameter's name."""


class Params(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """Base of every parameter type: closed, so that a misspelt key is told and not ignored."""


class Result(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """Base of every result type."""


Inert = msgspec.Raw
"""The type of a parameter that OpenClaw's clients may send and nothing is done with: never decoded, so that it may be
anything and costs nothing."""
MAX_NAMED, MAX_GUESSED_CHARS = 24, 64
"""How many parameters one that is wrong is answered with, and how much of it is compared with them."""
ABSENT = msgspec.Raw(b"")
"""An inert parameter that was not sent."""


def given(params: Params) -> list[str]:
    """The names, as on the wire, of the inert parameters a caller sent."""
    names = zip(params.__struct_fields__, params.__struct_encode_fields__, strict=True)
    values = ((shown, getattr(params, name)) for name, shown in names)
    return [shown for shown, value in values if isinstance(value, msgspec.Raw) and memoryview(value).nbytes]


def instead_of(name: str, params: type[Params]) -> str:
    """What somebody is told who named no parameter there is: the nearest, and all there are but inert ones."""
    fields = msgspec.structs.fields(params)
    known = [field.encode_name for field in fields if not isinstance(field.default, msgspec.Raw)]
    near = difflib.get_close_matches(name[:MAX_GUESSED_CHARS], known, n=1)
    more = f", and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    return f"{f'did you mean {near[0]}? ' if near else ''}allowed: {', '.join(known[:MAX_NAMED]) or 'none'}{more}"


def choices_of(name: str, params: type[Params]) -> str:
    """What somebody is told whose parameter has none of the values it may have."""
    kind = next(field.type for field in msgspec.structs.fields(params) if field.encode_name == name)
    choices = [one for part in (kind, *get_args(kind)) for one in get_args(part) if isinstance(one, str)]
    return f"allowed: {', '.join(dict.fromkeys(choices))}"


class Nothing(Params, frozen=True):
    """A method without parameters."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method. `scope` is a word of `protocol.scopes`, `or_scope` another that is enough as well; `max_bytes`
    bounds the parameters; `waits` marks a call that may take long by design, so that it does not count as a slow
    one. `scope_for`: the scope a call needs with these parameters, where they decide; `scope` is the least of them.
    `budgeted`: it changes how the system is run, and a peer of the outer door may call it so often in a minute."""

    name: str
    scope: str
    summary: str
    params: type[Params] = Nothing
    result: Any = dict
    max_bytes: int = MAX_ROW_BYTES
    waits: bool = False
    hidden: bool = False
    or_scope: str | None = None
    scope_for: Callable[[Any], str] | None = None
    budgeted: bool = False
    decoder: msgspec.msgpack.Decoder[Any] = field(init=False, repr=False, compare=False)
    json_decoder: msgspec.json.Decoder[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", msgspec.msgpack.Decoder(self.params))
        object.__setattr__(self, "json_decoder", msgspec.json.Decoder(self.params))
