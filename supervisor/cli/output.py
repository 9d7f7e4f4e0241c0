"""How answers are printed: one JSON document for programs, plain tables for people.

Owns: the rule that nothing an agent wrote reaches a terminal as a control sequence, and the look of tables, sizes,
times."""

from __future__ import annotations

import json
import os
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

MISSING = "-"


def print_json(document: object) -> None:
    """The one document of a command. ASCII, so that every terminal and every name of a file survives it."""
    click.echo(json.dumps(document, indent=2, default=str))


def print_json_line(document: object) -> None:
    """One document of a stream."""
    click.echo(json.dumps(document, default=str))
    sys.stdout.flush()


def say(text: str = "") -> None:
    """A line for people, harmless."""
    click.echo(clean(text))


def note(text: str) -> None:
    """A line about the command itself: on stderr, so that what is asked for stays alone on stdout."""
    click.echo(clean(text), err=True)


def clean(text: str) -> str:
    """`text` with what a terminal would obey (escape sequences, bells, bidirectional overrides) and lone surrogates
    shown as \\x1b."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if _harmless(each) else _shown(each) for each in text)


def _harmless(letter: str) -> bool:
    # Cc control, Cf format (right-to-left overrides), Cs surrogate; everything else only draws.
    return letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs")


def _shown(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii") if ord(letter) < 0xD800 else f"\\u{ord(letter):04x}"


def one_line(value: object, limit: int = 200) -> str:
    """Any value as one short, harmless line; a dash for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return MISSING
    text = clean(" ".join(str(value).replace("\t", " ").splitlines()).rstrip())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def width(text: str) -> int:
    """Columns on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = (), below: Sequence[str] = ()
) -> str:
    """Columns as wide as their widest cell; on a terminal the last one is cut to fit. `right` names columns of
    numbers; `below` the last ones, which go into a line of their own below the others where all are too wide."""
    cells = [[one_line(value) for value in row] for row in rows]
    widths = [max([width(head), *(width(row[index]) for row in cells)]) for index, head in enumerate(headers)]
    aligned = {headers.index(name) for name in right}
    limit = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
    broken = limit and sum(widths) + 2 * (len(widths) - 1) > limit
    first = len(headers) - len(below) if broken else len(headers)

    def lines(row: Sequence[str]) -> Iterator[str]:
        parts = []
        for index, text in enumerate(row[:first]):
            gap = " " * (widths[index] - width(text))
            parts.append(gap + text if index in aligned else text + gap)
        yield "  ".join(parts).rstrip()
        if rest := "  ".join(text for text in row[first:] if text != MISSING):
            yield f"  {rest}"

    whole = [text for row in (headers, *cells) for text in lines(row)]
    return "\n".join(_cut(text, limit) if limit else text for text in whole)


def _cut(text: str, limit: int) -> str:
    if width(text) <= limit:
        return text
    while width(text) >= limit:
        text = text[:-1]
    return f"{text}…"


def pairs(values: Mapping[str, object]) -> str:
    """Names and values below each other."""
    longest = max((width(name) for name in values), default=0)
    return "\n".join(f"{name}{' ' * (longest - width(name))}  {one_line(value)}" for name, value in values.items())


def size(count: Any) -> str:
    """Bytes as a person reads them."""
    if not isinstance(count, int | float):
        return MISSING
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def span(milliseconds: Any) -> str:
    """A length of time as a person reads it."""
    if not isinstance(milliseconds, int | float):
        return MISSING
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = int(milliseconds / 1000)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def ago(timestamp_ms: Any, now: float | None = None) -> str:
    """How long before now (milliseconds since the epoch) something was."""
    if not isinstance(timestamp_ms, int | float):
        return MISSING
    return f"{span(max(0.0, (time.time() if now is None else now) * 1000 - timestamp_ms))} ago"


def clock(timestamp_ms: Any) -> str:
    """The local time of day."""
    if not isinstance(timestamp_ms, int | float):
        return MISSING
    return time.strftime("%H:%M:%S", time.localtime(timestamp_ms / 1000))
