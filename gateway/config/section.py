"""What every configuration section is made of: the base struct, and the field types that more than one section uses.

Owns the conventions of the schema: OpenClaw's camelCase names outside, no unknown keys, immutable once read."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=0, le=65535)]
Milliseconds = Annotated[int, Meta(ge=1, le=86_400_000)]
Seconds = Annotated[int, Meta(ge=0, le=31_536_000)]
Positive = Annotated[int, Meta(ge=1, le=2**62)]
Text = Annotated[str, Meta(min_length=1)]
FilePath = Annotated[str, Meta(min_length=1, extra={"path": True})]
"""A path: `~` is the home directory, a relative one starts at the configuration file's directory (see `loader.py`)."""

Uid = Annotated[int, Meta(ge=0, le=2**32 - 2)]
AgentId = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
Scope = Literal["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"]

Environment = dict[Annotated[str, Meta(pattern="^[^=]+$")], str]
"""Variables for a process; a name holds no `=` (environ(7))."""

HIDDEN = "<hidden>"
"""Stands for a secret wherever a value is shown to a person."""


class Section(Struct, rename="camel", forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A table of the configuration."""


def repr_hiding(section: Struct, *secret: str) -> str:
    """The repr of `section` with the named attributes hidden when they hold anything."""
    shown = (
        f"{name}={HIDDEN if name in secret and getattr(section, name) else repr(getattr(section, name))}"
        for name in section.__struct_fields__
    )
    return f"{type(section).__name__}({', '.join(shown)})"
