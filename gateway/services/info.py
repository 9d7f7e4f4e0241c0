"""What the gateway knows of itself: its version, its start, its epoch. Values only."""

from __future__ import annotations

import importlib.metadata

import msgspec

VERSION = importlib.metadata.version("peergate")
"""Read when the zygote imports this, so that no gateway spends four milliseconds on it."""


class Info(msgspec.Struct, frozen=True):
    """What the gateway knows of itself. `started_ms`: wall clock; `epoch` counts gateway starts on this database."""

    generation: int
    epoch: int
    started_ms: float
    version: str
