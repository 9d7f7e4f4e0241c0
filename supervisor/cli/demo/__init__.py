"""`peergate demo`: two agents and a crowd of sub-agents survey a folder, in a system of their own, without a key or a
network."""

from __future__ import annotations

import os
from typing import Any

import click

from supervisor.cli.demo.files import MOST_FILES, Folder, default_root, find_files, sha256_of
from supervisor.cli.demo.job import all_runs, latency_of, pairing_prompts, survey, timed, workers_of
from supervisor.cli.demo.report import check_hashes, demo_text, missing_files
from supervisor.cli.demo.system import System, open_system
from supervisor.cli.demo.view import open_view
from supervisor.cli.demo.watch import Progress, open_watch
from supervisor.cli.errors import FAILED
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import note

CONCURRENCY = max(2, min(16, 2 * (os.cpu_count() or 1)))
"""More would only wait for a processor, and the latency told would be that waiting."""


@command(
    "demo", "peergate demo", "peergate demo ~/src --all", "peergate demo . --json | jq .latency", "peergate demo --keep"
)
@click.argument("path", required=False, type=click.Path())
@click.option(
    "--concurrency", type=click.IntRange(1, 200), default=CONCURRENCY, show_default=True, help="Sub-agents at once."
)
@click.option("--max", "most", type=click.IntRange(1, MOST_FILES), metavar="N", help="Take only the first N files.")
@click.option("--all", "show_all", is_flag=True, help="Print the whole table.")
@click.option("--keep", is_flag=True, help="Keep the temporary directory with its database and log.")
def demo(run: Invocation, path: str | None, concurrency: int, most: int | None, show_all: bool, keep: bool) -> None:
    """Survey PATH (default: this project, else the current directory) with one sub-agent process per file.

    A private system is started with the configuration of OpenClaw issue #22226. Agent main starts a sub-agent for
    every file; agent alecar adds up what they found; this command checks every hash itself, and exits with 1 if one
    differs. Killing the demo's gateway or zygote in the middle changes nothing but the time it takes.

    --json prints {files[], totals, duplicates[], reporter, workers[], runs, latency{count, p50Ms, p99Ms},
    pairingPrompts, hashesChecked, mismatches[], changedMeanwhile[], missing[], leftOut, elapsedMs, root,
    directory}."""
    folder = find_files(path or default_root(__file__), most)
    runtime = os.path.abspath(run.runtime_flag) if run.runtime_flag else None
    if not run.json:
        note(f"surveying {len(folder.files)} files below {folder.root}")
    with open_system(concurrency, runtime, keep) as system:
        if not run.json:
            note(f"its own system runs (pid {system.pid}); look at it: peergate ps --runtime-dir {system.runtime}")
        document = _carry_out(system, folder, concurrency, run.json)
        document["directory"] = system.directory if keep else None
    run.answer(document, lambda: demo_text(document, show_all))
    if document["mismatches"] or document["missing"]:
        click.get_current_context().exit(FAILED)


def _carry_out(system: System, folder: Folder, concurrency: int, quiet: bool) -> dict[str, Any]:
    progress = Progress(len(folder.files))
    with open_watch(system.doors, progress), open_view(progress, quiet) as show:
        result, elapsed = timed(lambda: survey(system.doors, folder, concurrency, show))
    runs = all_runs(system.doors)
    reports = result["files"]
    differing = check_hashes(reports, lambda path: sha256_of(folder.root, path))
    changed = [each for each in differing if folder.changed(each["path"])]
    return {
        "files": reports,
        "totals": result.get("totals"),
        "duplicates": result.get("duplicates"),
        "reporter": result.get("reporter"),
        "workers": workers_of(runs),
        "runs": len(runs),
        "latency": latency_of(runs),
        "pairingPrompts": pairing_prompts(system.doors),
        "hashesChecked": len(reports),
        "mismatches": [each for each in differing if each not in changed],
        "changedMeanwhile": [each["path"] for each in changed],
        "missing": missing_files(folder.files, reports),
        "leftOut": folder.left_out,
        "elapsedMs": elapsed,
        "root": folder.root,
    }
