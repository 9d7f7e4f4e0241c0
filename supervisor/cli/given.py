"""What a person gives a command as text: a message typed or piped in, and JSON. Looked at before anything is sent.

Owns: the rule that `-` means standard input, which is read no further than what could be sent."""

from __future__ import annotations

import json
import sys
from typing import Any

from gateway.protocol.limits import MAX_MESSAGE_CHARS, MAX_PAYLOAD_BYTES
from supervisor.cli.errors import Usage

_STDIN = "-"


def message(given: str, what: str = "the message") -> str:
    """The text that was given, or `-`'s. Raises Usage for one that is too long or not UTF-8."""
    text = _piped(4 * MAX_MESSAGE_CHARS, what) if given == _STDIN else given
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _not_utf8(what)  # how Python shows a byte of an argument that is none
    if len(text) > MAX_MESSAGE_CHARS:
        raise _too_long(what, f"{MAX_MESSAGE_CHARS} characters")
    return text


def json_object(given: str, what: str = "PARAMS") -> dict[str, Any]:
    """The JSON object that was given, or `-`'s. Raises Usage."""
    text = _piped(MAX_PAYLOAD_BYTES, what) if given == _STDIN else given
    try:
        params = json.loads(text)
    except RecursionError:
        raise Usage(f"{what} is nested too deep") from None
    except ValueError as error:
        raise Usage(f"{what} is not JSON: {error}") from None
    if not isinstance(params, dict):
        raise Usage(f'{what} must be a JSON object, such as \'{{"agentId": "main"}}\'')
    return params


def _piped(limit: int, what: str) -> str:
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        allowed = f"{limit} bytes" if limit == MAX_PAYLOAD_BYTES else f"{MAX_MESSAGE_CHARS} characters"
        raise _too_long(what, allowed)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _not_utf8(what) from None


def _too_long(what: str, allowed: str) -> Usage:
    return Usage(f"{what} is longer than the {allowed} it may have", fix="put it into a file and name the file")


def _not_utf8(what: str) -> Usage:
    return Usage(f"{what} is not UTF-8 text", fix="convert it, or put it into a file and name the file")
