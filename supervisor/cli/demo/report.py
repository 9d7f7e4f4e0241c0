"""What the demo found: the checks, and the table made of it. Pure: what must be looked up is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor.cli.output import one_line, size, span, table

SHOWN_ROWS = 20
HASH_LETTERS = 12


def check_hashes(reports: Sequence[Mapping[str, Any]], hash_of: Callable[[str], str | None]) -> list[dict[str, Any]]:
    """Reports whose hash is not the one computed here. A file an agent could not read must be unreadable here too."""
    wrong = []
    for report in reports:
        path, said = str(report.get("path")), report.get("sha256")
        found = hash_of(path)
        if said != found:
            wrong.append({"path": path, "reported": said, "computed": found, "error": report.get("error")})
    return wrong


def missing_files(files: Sequence[str], reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Files that nobody reported."""
    reported = {report.get("path") for report in reports}
    return [path for path in files if path not in reported]


def name_of(path: object) -> str:
    """A file's name on one line: what does not draw, a line break too, as its escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(path))


def demo_text(document: Mapping[str, Any], show_all: bool) -> str:
    """The document for a person."""
    parts = [
        _table(document["files"], show_all),
        _totals(document),
        _duplicates(document["duplicates"]),
        _facts(document),
    ]
    for wrong in document["mismatches"]:
        parts.append(
            f"WRONG HASH {one_line(name_of(wrong['path']))}: reported {wrong['reported']}, is {wrong['computed']}"
        )
    parts += [f"changed meanwhile, not judged: {one_line(name_of(path))}" for path in document["changedMeanwhile"]]
    parts += [f"NOT REPORTED {one_line(name_of(path))}" for path in document["missing"]]
    return "\n".join(part for part in parts if part)


def _table(reports: Sequence[Mapping[str, Any]], show_all: bool) -> str:
    if not reports:
        return "there are no files to survey here"
    shown = reports if show_all else reports[:SHOWN_ROWS]
    rows = [
        (
            each.get("language") or each.get("kind"),
            each.get("lines"),
            each.get("longestLine"),
            each.get("words"),
            each.get("bytes"),
            (each.get("sha256") or "")[:HASH_LETTERS],
            name_of(each.get("path")) + (f"  ({each['error']})" if each.get("error") else ""),
        )
        for each in shown
    ]
    headers = ("LANGUAGE", "LINES", "LONGEST", "WORDS", "BYTES", "SHA256", "FILE")
    text = table(headers, rows, right=("LINES", "LONGEST", "WORDS", "BYTES"))
    hidden = len(reports) - len(shown)
    return f"{text}\n… and {hidden} more (--all)" if hidden else text


def _totals(document: Mapping[str, Any]) -> str:
    totals, reporter = document.get("totals"), document.get("reporter")
    who = reporter.get("agent") if isinstance(reporter, Mapping) else reporter
    if not isinstance(totals, Mapping):
        why = reporter.get("error") if isinstance(reporter, Mapping) else "no answer"
        return f"\nagent {one_line(who)} did not add it up: {one_line(why)}"
    languages = totals.get("languages")
    spoken = ", ".join(f"{name} {count}" for name, count in languages.items()) if isinstance(languages, Mapping) else ""
    figures = ", ".join(f"{totals.get(name)} {name}" for name in ("files", "lines", "words"))
    figures = f"{figures}, {size(totals.get('bytes'))}"
    unread = f", {totals['unread']} unread" if totals.get("unread") else ""
    return f"\nagent {one_line(who)} added it up: {figures}{unread}" + (f"\n  {one_line(spoken)}" if spoken else "")


def _duplicates(groups: object) -> str:
    groups = groups if isinstance(groups, list) else []
    lines = [f"  {one_line(' = '.join(map(name_of, group.get('paths') or ())))}" for group in groups[:SHOWN_ROWS]]
    more = [f"  … and {len(groups) - SHOWN_ROWS} more"] if len(groups) > SHOWN_ROWS else []
    return "\n".join([f"{len(groups)} groups of equal files:", *lines, *more]) if groups else "no two files are equal"


def _facts(document: Mapping[str, Any]) -> str:
    latency, left_out = document["latency"], document["leftOut"]
    lines = [
        f"\n{len(document['workers'])} worker processes, {document['runs']} runs, {document['elapsedMs'] / 1000:.1f} s",
        f"spawn latency: p50 {span(latency['p50Ms'])}, p99 {span(latency['p99Ms'])} ({latency['count']} sub-agents)",
        f"pairing prompts: {document['pairingPrompts']}   (bind lan, token auth, empty state: OpenClaw #22226)",
        f"hashes checked here: {document['hashesChecked']}, wrong: {len(document['mismatches'])}",
    ]
    if left_out:
        lines.append("left out: " + ", ".join(f"{count} {why}" for why, count in left_out.items()))
    if document.get("directory"):
        lines.append(f"kept: {document['directory']}")
    return "\n".join(lines)
