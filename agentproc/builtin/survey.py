"""The agent that surveys a folder with one sub-agent per file, and has another agent add up what they found.

Message: `{"task": "survey", "root": "/folder", "files": ["relative", …], "concurrency": 8, "reporter": "alecar"}` as
JSON, or the words `survey /folder`. Its sub-agents run this same function on `{"task": "report", "root", "path"}`.
Their results come as announces while the turn goes on. Reply: `{"root", "files": [report, …], "totals", "duplicates",
"reporter"}` as JSON. Anything else is answered by the built-in `main` agent."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import trio

from agentproc.builtin import main as offline
from agentproc.builtin.scout import look, task_in
from agentproc.builtin.totals import add_up, parts_of, row_of, summarise
from agentproc.context import NO_REPLY, Context, SpawnRefused
from agentproc.inbox import Announce

DEFAULT_CONCURRENCY = 5
CHILD_SECONDS = 300
REPORTER_SECONDS = 120
QUIET_SECONDS = 5.0
"""Without a message for this long we look whether results wait elsewhere: what was announced while our worker was being
replaced is not steered to us."""
MAX_FILES = 20_000
SAY_EVERY = 25
SKIPPED = frozenset({
    ".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".hypothesis", ".tox", ".cache",
})  # fmt: skip


async def turn(ctx: Context) -> str | None:
    """Do whichever of the jobs the message asks for."""
    task = task_in(ctx.message) or {}
    match task.get("task"):
        case "report":
            return json.dumps(await look(task["root"], task["path"]))
        case "survey":
            return await survey(ctx, task)
    if ctx.announce and ctx.announce.task_name and ctx.announce.task_name.startswith("report-"):
        return NO_REPLY  # a survey that was aborted has nobody left to read this
    word, _, folder = ctx.message.strip().partition(" ")
    if word.lower() == "survey" and folder.strip():
        return await survey(ctx, {"root": folder.strip()})
    return await offline.turn(ctx)


async def survey(ctx: Context, task: dict[str, Any]) -> str:
    """Survey `task["root"]`; without `files`, every file below it but those in version control and caches."""
    root = str(task["root"])
    if "files" in task:
        named = task["files"]
    else:
        root, named = await trio.to_thread.run_sync(files_below, root, abandon_on_cancel=True)
    job = Survey(ctx, root, list(map(str, named)), max(1, int(task.get("concurrency") or DEFAULT_CONCURRENCY)))
    reports = await job.run()
    result: dict[str, Any] = {"root": root, "files": reports}
    return json.dumps(result | await added_up(ctx, reports, task.get("reporter")), separators=(",", ":"))


def files_below(folder: str) -> tuple[str, list[str]]:
    """The folder's absolute path and the paths of the files below it, relative to it, at most MAX_FILES, in a stable
    order."""
    root = os.path.abspath(os.path.expanduser(folder))
    return root, list(islice(_walk(root), MAX_FILES))


def _walk(root: str) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), root)


class Survey:
    """One survey in progress: which files wait, which have a sub-agent, which are reported."""

    def __init__(self, ctx: Context, root: str, files: list[str], at_once: int) -> None:
        self.ctx = ctx
        self.root = root
        self.at_once = at_once
        self.files = list(dict.fromkeys(files))
        self.waiting = deque(self.files)
        # A sub-agent is known by its task name, which says run and file; so a second attempt of this run knows the
        # first one's.
        self.path_of = {self.task_name(path): path for path in self.files}
        self.at_work: set[str] = set()
        self.reports: dict[str, dict[str, Any]] = {}

    async def run(self) -> list[dict[str, Any]]:
        """All reports, in the order of the files."""
        await self.ctx.say(f"surveying {len(self.files)} files, {self.at_once} sub-agents at once\n")
        async with self.ctx.steer() as inbox:
            if self.ctx.attempt > 1:
                await self.collect()
            while self.waiting or self.at_work:
                await self.start_more()
                if not self.waiting and not self.at_work:
                    break
                mail = await inbox.get(QUIET_SECONDS)
                if mail is None:
                    await self.collect()
                elif mail.announce:
                    await self.take(mail.announce)
        return [self.reports[path] for path in self.files]

    def task_name(self, path: str) -> str:
        digest = hashlib.sha256(json.dumps([self.ctx.run_id, path]).encode()).hexdigest()
        return f"report-{digest[:24]}"

    async def start_more(self) -> None:
        """Start sub-agents until `at_once` are at work or the limit on children says no."""
        while self.waiting and len(self.at_work) < self.at_once:
            path = self.waiting[0]
            if path in self.reports:
                self.waiting.popleft()
                continue
            try:
                await self.start(path)
            except SpawnRefused as refused:
                if "maxChildrenPerAgent" not in str(refused):
                    await self.keep(path, {"path": path, "kind": "unknown", "error": f"no sub-agent: {refused}"})
                else:
                    return  # somebody's child has to finish first; it will say so
            self.waiting.popleft()

    async def start(self, path: str) -> None:
        task = json.dumps({"task": "report", "root": self.root, "path": path})
        name = self.task_name(path)
        await self.ctx.spawn(task, label=label_of(path), task_name=name, timeout=CHILD_SECONDS)
        self.at_work.add(name)

    async def collect(self) -> None:
        """Take the results that wait to be announced after this turn."""
        for announce in await self.ctx.wait_children(timeout=0):
            await self.take(announce)

    async def take(self, announce: Announce) -> None:
        """A sub-agent has finished. Those of other turns, and second results of one file, are ignored."""
        path = self.path_of.get(announce.task_name or "")
        if path is None:
            return
        self.at_work.discard(announce.task_name or "")
        if path not in self.reports:
            await self.keep(path, report_in(announce, path))

    async def keep(self, path: str, report: dict[str, Any]) -> None:
        self.reports[path] = report
        done = len(self.reports)
        if done % SAY_EVERY == 0 or done == len(self.files):
            await self.ctx.say(f"{done} of {len(self.files)} files reported\n")


def report_in(announce: Announce, path: str) -> dict[str, Any]:
    """The report a sub-agent left, or one that says why there is none."""
    report = task_in(announce.result) if announce.status == "ok" else None
    wrong = f"its sub-agent ended with {announce.status}: {(announce.error or announce.result)[:500]}"
    return report or {"path": path, "kind": "unknown", "error": wrong}


async def added_up(ctx: Context, reports: list[dict[str, Any]], reporter: str | None) -> dict[str, Any]:
    """Totals and duplicates as the agent `reporter` says; without one, as we say. A reporter that fails is told, not
    replaced."""
    parts = parts_of(map(row_of, reports))
    if reporter is None:
        return add_up([summarise(part) for part in parts]) | {"reporter": None}
    answers: list[dict[str, Any]] = []
    for number, part in enumerate(parts, 1):
        message = json.dumps({"task": "totals", "part": number, "parts": len(parts), "rows": part})
        sent = await ctx.send(reporter, message, timeout=REPORTER_SECONDS)
        answer = task_in(sent.reply or "")
        if sent.status != "ok" or answer is None:
            why = sent.error or (sent.reply or "no answer")[:500]
            told = {"agent": reporter, "status": sent.status, "error": why}
            return {"totals": None, "duplicates": None, "reporter": told}
        answers.append(answer)
    await ctx.say(f"{reporter} added it up\n")
    return add_up(answers) | {"reporter": {"agent": reporter, "status": "ok", "parts": len(parts)}}


def label_of(path: str) -> str:
    """A file's name as a label, which is plain text: what does not draw as its escape, the end of a long one, and a
    name of nothing but spaces in quotes."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in path)[-200:]
    return shown if shown.strip() else repr(shown)
