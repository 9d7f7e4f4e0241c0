"""Totals and duplicates of a table of file reports. Pure.

A row is `[path, language, lines, words, bytes, sha256 or null]`; rows of one hash are sent in one part (see
`parts_of`), so that the answers to several parts add up."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

Row = list[Any]

PART_CHARS = 200_000
"""Below what a message may have (262,144 characters), with room for what is around the rows."""


def row_of(report: Mapping[str, Any]) -> Row:
    """A report as a row; what could not be read has null figures."""
    return [report.get(name) for name in ("path", "language", "lines", "words", "bytes", "sha256")]


def parts_of(rows: Iterable[Row], limit: int = PART_CHARS) -> list[list[Row]]:
    """The rows in parts that fit a message each. Equal hashes stay together, unless they alone are too much for one."""
    parts: list[list[Row]] = [[]]
    room = limit
    for _, group in groupby(sorted(rows, key=lambda row: (row[5] or "", row[0])), key=lambda row: row[5]):
        together = list(group)
        size = sum(len(json.dumps(row)) + 2 for row in together)
        for piece in [together] if size <= limit else [[row] for row in together]:
            needed = sum(len(json.dumps(row)) + 2 for row in piece)
            if needed > room and parts[-1]:
                parts.append([])
                room = limit
            parts[-1] += piece
            room -= needed
    return parts


def summarise(rows: Iterable[Row]) -> dict[str, Any]:
    """`totals` and `duplicates` of some rows."""
    totals = {"files": 0, "unread": 0, "lines": 0, "words": 0, "bytes": 0}
    languages: Counter[str] = Counter()
    same: dict[tuple[str, int], list[str]] = defaultdict(list)
    for path, language, lines, words, size, sha256 in rows:
        totals["files"] += 1
        if sha256 is None:
            totals["unread"] += 1
            continue
        totals["lines"] += lines or 0
        totals["words"] += words or 0
        totals["bytes"] += size or 0
        languages[language or "Unknown"] += 1
        same[sha256, size or 0].append(path)
    return {"totals": {**totals, "languages": dict(languages.most_common())}, "duplicates": _groups(same)}


def add_up(answers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The summaries of several parts as one."""
    totals: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    same: dict[tuple[str, int], list[str]] = defaultdict(list)
    for answer in answers:
        given = dict(answer["totals"])
        languages.update(given.pop("languages"))
        totals.update(given)
        for group in answer["duplicates"]:
            same[group["sha256"], group["bytes"]] += group["paths"]
    return {"totals": {**totals, "languages": dict(languages.most_common())}, "duplicates": _groups(same)}


def _groups(same: Mapping[tuple[str, int], list[str]]) -> list[dict[str, Any]]:
    groups = [
        {"sha256": sha256, "bytes": size, "paths": sorted(paths)}
        for (sha256, size), paths in same.items()
        if len(paths) > 1
    ]
    return sorted(groups, key=lambda group: (-int(group["bytes"]), str(group["sha256"])))
