"""The demo's live view: redrawn in place on a terminal, a line now and then anywhere else, nothing with --json."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from supervisor.cli.demo.watch import Progress
from supervisor.cli.output import note, one_line

LINE_SECONDS = 1.0
SHOWN_WORKERS = 8


@contextmanager
def open_view(progress: Progress, quiet: bool) -> Iterator[Callable[[], None]]:
    """A function that shows how far it is. Call it as often as you like."""
    if quiet:
        yield lambda: None
    elif sys.stderr.isatty():
        with _live(progress) as show:
            yield show
    else:
        yield _lines(progress)


def _lines(progress: Progress) -> Callable[[], None]:
    last, shown = time.monotonic(), ""

    def show() -> None:
        nonlocal last, shown
        text = headline(progress)
        if time.monotonic() - last >= LINE_SECONDS and text != shown:
            last, shown = time.monotonic(), text
            note(text)

    return show


@contextmanager
def _live(progress: Progress) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    # Text, not markup: a file's name must not be read as a style.
    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        yield lambda: live.update(Text(screen(progress)), refresh=True)


def headline(progress: Progress) -> str:
    """How far it is, in one line."""
    done = min(len(progress.finished), progress.total)
    return (
        f"{done} of {progress.total} files, {len(progress.workers)} workers now, {len(progress.pids)} processes so far"
    )


def screen(progress: Progress) -> str:
    """The whole view."""
    filled = round(30 * min(1.0, len(progress.finished) / progress.total)) if progress.total else 30
    lines = [f"[{'#' * filled}{'.' * (30 - filled)}] {headline(progress)}"]
    workers = list(progress.workers.items())
    lines += [f"  pid {pid:<8} {one_line(session, 70)}" for pid, session in workers[:SHOWN_WORKERS]]
    if len(workers) > SHOWN_WORKERS:
        lines.append(f"  and {len(workers) - SHOWN_WORKERS} more")
    lines += [f"  {one_line(text, 76)}" for text in list(progress.said)]
    return "\n".join(lines)
