"""`peergate up`: becomes the supervisor.

Owns the command line the supervisor is started with, and the banner. The process is replaced by exec, so that whoever
started `peergate up` (systemd, a container's runtime, a shell) has the supervisor itself as its child."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import click

from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import note
from supervisor.cli.paths import AGENTS, OPERATOR
from supervisor.cli.snapshot import read_status

READY = b"ready\n"
BINDS = ("loopback", "lan", "tailnet", "auto", "custom", "off")


@command(
    "up",
    "peergate up",
    "peergate up --config ./peergate.toml --set logging.level=debug",
    "peergate up --bind lan --port 18790",
    "peergate up --wait        # wait for another system on this state directory to end",
)
@click.option("--wait", is_flag=True, help="Wait while another system holds the state directory.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one key of the configuration (may be repeated).",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Of the outer door (gateway.port); 0 is any free one.")
@click.option("--bind", type=click.Choice(BINDS), help="Where the outer door listens (gateway.bind).")
def up(run: Invocation, wait: bool, settings: tuple[str, ...], port: int | None, bind: str | None) -> None:
    """Start the system in the foreground. SIGTERM or Ctrl-C stops it, SIGHUP reads the configuration again.

    When the system is ready, standard error says so with its pid and its doors: one line without a terminal, a few
    with one. --json prints one document instead: {ready, pid, runtimeDir, stateDir, operatorSocket, agentsSocket,
    addresses}; {ready: false, pid} when it ends before, and standard error says why."""
    named = {"gateway.port": port, "gateway.bind": bind}
    settings += tuple(f"{key}={value}" for key, value in named.items() if value is not None)
    argv = supervisor_argv(
        run.runtime_dir, run.state_dir, run.config, ready=_announcer(run), wait=wait, settings=settings
    )
    sys.stdout.flush()
    os.execv(argv[0], argv)


def supervisor_argv(
    runtime: str,
    state: str,
    config: str | None,
    *,
    ready: int | None = None,
    wait: bool = False,
    settings: Sequence[str] = (),
) -> list[str]:
    """How the supervisor is started. Isolated (-I), so that neither the directory nor PYTHONPATH decides what code
    runs."""
    argv = [sys.executable, "-I", "-m", "supervisor", "--runtime-dir", runtime, "--state-dir", state]
    argv += ["--config", config] if config else []
    argv += ["--ready-fd", str(ready)] if ready is not None else []
    argv += ["--wait"] if wait else []
    return argv + [part for setting in settings for part in ("--set", setting)]


def _announcer(run: Invocation) -> int:
    """The descriptor to write `ready` to. A grandchild reads it and prints the banner, because this process becomes
    the supervisor.

    Grandchild, so that the supervisor does not begin its life with a child it did not start."""
    reading, writing = os.pipe()
    parent = os.getpid()
    between = os.fork()
    if between:
        os.close(reading)
        os.waitpid(between, 0)
        os.set_inheritable(writing, True)
        return writing
    os.close(writing)
    if os.fork():
        os._exit(0)
    try:
        if os.read(reading, len(READY)) == READY:
            _announce(run, parent)
        elif run.json:
            print(json.dumps({"ready": False, "pid": parent}))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _announce(run: Invocation, pid: int) -> None:
    operator, agents = f"{run.runtime_dir}/{OPERATOR}", f"{run.runtime_dir}/{AGENTS}"
    addresses = (read_status(run.runtime_dir) or {}).get("addresses") or []
    outer = ", ".join(map(str, addresses)) or "off"
    if run.json:
        told = {"ready": True, "pid": pid, "runtimeDir": run.runtime_dir, "stateDir": run.state_dir}
        print(json.dumps({**told, "operatorSocket": operator, "agentsSocket": agents, "addresses": addresses}))
        return
    if not sys.stderr.isatty():
        note(f"peergate is ready (pid {pid}); operators {operator}, agents {agents}, outer {outer}")
        return
    note(f"peergate is ready (pid {pid})")
    note(f"  operators  {operator}")
    note(f"  agents     {agents}")
    note(f"  outer      {outer}")
    note('  try        peergate send main "hello"      peergate ps      peergate stop')
