"""What an agent hands us, looked at before it leaves: a wrong type is told in the agent's own line, not by the gateway.

Pure."""

from __future__ import annotations


def text(where: str, value: object) -> None:
    """Raises TypeError unless `value` is text; `where` names the call, or its argument."""
    if not isinstance(value, str):
        raise TypeError(f"{where} takes text, not {type(value).__name__}")


def texts(where: str, **optional: object) -> None:
    """The same for arguments that may be left out."""
    for name, value in optional.items():
        if value is not None:
            text(f"{where}: {name}", value)


def seconds(where: str, value: object) -> None:
    """Raises TypeError unless `value` is a whole number of seconds, or None."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise TypeError(f"{where} takes whole seconds, not {type(value).__name__}")
