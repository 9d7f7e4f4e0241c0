"""The configuration: one schema, read once, checked whole, immutable afterwards.

The names are imported when they are first used: the gateway needs the settings at its start, not the parsers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.document import Resolved, settings_from_resolved
    from gateway.config.loader import Loaded, load
    from gateway.config.problem import EXIT_CONFIG, ConfigError, Problem
    from gateway.config.schema import find_key, json_schema, redacted, tree_of
    from gateway.config.settings import Settings

_HOMES = {
    "document": ("Resolved", "settings_from_resolved"),
    "loader": ("Loaded", "load"),
    "problem": ("EXIT_CONFIG", "ConfigError", "Problem"),
    "schema": ("find_key", "json_schema", "redacted", "tree_of"),
    "settings": ("Settings",),
}

__all__ = [
    "EXIT_CONFIG",
    "ConfigError",
    "Loaded",
    "Problem",
    "Resolved",
    "Settings",
    "find_key",
    "json_schema",
    "load",
    "redacted",
    "settings_from_resolved",
    "tree_of",
]


def __getattr__(name: str) -> object:
    """A public name, from the module it lives in (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"gateway.config.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
