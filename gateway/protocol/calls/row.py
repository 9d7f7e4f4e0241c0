"""What one method is: name, who may call it, what it takes and gives. The router enforces a row; nobody else checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from gateway.protocol.limits import MAX_ROW_BYTES, MAX_SAFE_INTEGER

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""A number of things, a position, a time: what is outside is refused with the parameter's name."""


class Params(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """Base of every parameter type: closed, so that a misspelt key is told and not ignored."""


class Result(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """Base of every result type."""


class Nothing(Params, frozen=True):
    """A method without parameters."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method. `scope` is a word of `protocol.scopes`, `or_scope` another that is enough as well; `max_bytes`
    bounds the parameters; `waits` marks a call that may take long by design, so that it does not count as a slow
    one."""

    name: str
    scope: str
    summary: str
    params: type[Params] = Nothing
    result: Any = dict
    max_bytes: int = MAX_ROW_BYTES
    waits: bool = False
    hidden: bool = False
    or_scope: str | None = None
    decoder: msgspec.msgpack.Decoder[Any] = field(init=False, repr=False, compare=False)
    json_decoder: msgspec.json.Decoder[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", msgspec.msgpack.Decoder(self.params))
        object.__setattr__(self, "json_decoder", msgspec.json.Decoder(self.params))
