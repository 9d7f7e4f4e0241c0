"""`peergate send` and `spawn`: the session tools, for an operator and for an agent typing in its own shell.

Nothing here says who is calling: the kernel does, and the session is the caller's own. Only an operator may name
one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from supervisor.cli import given, names
from supervisor.cli.asking import ask_with_key, use_tool
from supervisor.cli.errors import FAILED, NOT_ALLOWED, CliError, Usage
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import clean, note, one_line, print_json
from supervisor.cli.runs import await_run, run_exit, run_text
from supervisor.cli.targets import session_key

SLACK_SECONDS = 3.0
"""How much longer than the time for the reply a command waits for the answer that there was none."""
TAKEN_SECONDS = 30.0
"""How long a command waits for a message to be on disk that waits for nothing else."""


def _no_empty_key(_: click.Context, __: click.Parameter, key: str | None) -> str | None:
    """A script whose variable is unset would have each of its messages taken for the first."""
    if key is not None and not key.strip():
        raise Usage("--key is empty", fix="leave it out, or name the key an earlier call told")
    return key


again = click.option(
    "--key", metavar="KEY", callback=_no_empty_key,
    help="The key of a call that was not answered: made again, it counts once.",
)  # fmt: skip
acting = click.option(
    "--session-key", "acting_as", metavar="SESSION", shell_complete=names.sessions,
    help="Act as this session (operators only).",
)  # fmt: skip


@command(
    "send",
    'peergate send scout "what is in README.md?"',
    'peergate send agent:main:main "and now in German" --timeout 120',
    "git diff | peergate send scout -",
    'peergate send main "tidy up" --no-wait',
    'peergate send main "write the report" --wait      # runs the turn to its end, however long',
    passthrough=True,
)
@click.argument("target", required=False, shell_complete=names.sessions)
@click.argument("message", required=False)
@click.option(
    "--agent", metavar="AGENT", shell_complete=names.agents, help="Instead of TARGET: this agent's main session."
)
@click.option("--label", help="Instead of TARGET: the session with this label.")
@click.option("--message", "-m", "option", help="Instead of MESSAGE.")
@click.option(
    "--timeout",
    type=click.IntRange(0, 86_400),
    metavar="SECONDS",
    default=30,
    show_default=True,
    help="Seconds to wait for the reply.",
)
@click.option("--no-wait", is_flag=True, help="Return as soon as the message is on disk.")
@click.option("--wait", "to_the_end", is_flag=True, help="Run a turn and wait until it has ended (operators only).")
@again
@acting
def send(
    run: Invocation,
    target: str | None,
    message: str | None,
    agent: str | None,
    label: str | None,
    option: str | None,
    timeout: int,
    no_wait: bool,
    to_the_end: bool,
    key: str | None,
    acting_as: str | None,
) -> None:
    """Send MESSAGE (- reads it from standard input) to TARGET, an agent or a session, and print the reply. Where no
    gateway answers it ends with the timeout too, and names the key to ask again with.

    --json prints the result of the session tool sessions_send as it is; with --wait, that of agent.wait."""
    words = [word for word in (target, message, option) if word is not None]
    named = [name for name in (agent, label) if name is not None]
    if len(named) > 1 or len(words) != (1 if named else 2):
        raise Usage('say whom and what, each once: peergate send scout "hello"')
    target = agent if named else words[0]
    text = given.message(words[-1])
    if to_the_end:
        if no_wait or acting_as:
            raise Usage("--wait goes with neither --no-wait nor --session-key")
        _turn(run, target, text, key)
        return
    where = {"label": label} if target is None else {"sessionKey": session_key(target)}
    args = {**where, "message": text, "timeoutSeconds": 0 if no_wait else timeout}
    within = timeout + SLACK_SECONDS if args["timeoutSeconds"] else TAKEN_SECONDS
    with _in_doubt("message"):
        result = use_tool(run.doors, "sessions_send", args, session=_acting(acting_as), key=key, timeout=within)
    _finish(run, result, _reply_text(result))


def _acting(named: str | None) -> str | None:
    return session_key(named) if named else None


@contextmanager
def _in_doubt(what: str) -> Iterator[None]:
    """Nobody answered: say that it may have happened all the same, and how to ask without doing it twice."""
    try:
        yield
    except CliError as error:
        if error.key is not None:
            error.fix = f"the {what} may still be taken; to ask, give the same command again with --key {error.key}"
        raise


def _turn(run: Invocation, target: str | None, text: str, key: str | None) -> None:
    if target is None:
        raise Usage("--wait needs a TARGET, an agent or a session")
    named = {"sessionKey": session_key(target), "message": text} | ({"idempotencyKey": key} if key else {})
    with _in_doubt("message"):
        accepted = ask_with_key(run.doors, "agent", named)
    result = await_run(run.doors, str(accepted["runId"]), until=None)
    run.answer(result, lambda: run_text(result))
    _exit(run_exit(result))


def _reply_text(result: Mapping[str, Any]) -> str:
    if result.get("reply") is not None:
        return clean(str(result["reply"]))
    status = result.get("status")
    if status == "accepted":
        how = " into the turn that is running" if result.get("targetDisposition") == "steered" else ""
        return f"accepted{how}; the reply comes later: peergate wait {one_line(result.get('runId'))}"
    return f"{one_line(status)}: {one_line(result.get('error') or result.get('message'), 2000)}"


@command(
    "spawn",
    'peergate spawn "count the words of README.md"',
    'peergate spawn "review src/" --agent scout --label review --timeout 600',
    'peergate spawn "check the links" --json',
    passthrough=True,
)
@click.argument("task")
@click.option(
    "--agent",
    metavar="AGENT",
    shell_complete=names.agents,
    help="Which agent's worker does it (default: the caller's own).",
)
@click.option("--label", help="A name for people.")
@click.option("--task-name", help="A name for programs, told with the result.")
@click.option("--timeout", type=click.IntRange(1), metavar="SECONDS", help="End the run after this long.")
@click.option("--delete", is_flag=True, help="Delete its session when its result was delivered.")
@again
@acting
def spawn(
    run: Invocation,
    task: str,
    agent: str | None,
    label: str | None,
    task_name: str | None,
    timeout: int | None,
    delete: bool,
    key: str | None,
    acting_as: str | None,
) -> None:
    """Start a sub-agent on TASK (- reads it from standard input). Its result is delivered to the session that started
    it.

    --json prints the result of the session tool sessions_spawn as it is."""
    args = {
        "task": given.message(task, "the task"),
        "agentId": agent,
        "label": label,
        "taskName": task_name,
        "runTimeoutSeconds": timeout,
        "cleanup": "delete" if delete else None,
    }
    with _in_doubt("task"):
        result = use_tool(run.doors, "sessions_spawn", args, session=_acting(acting_as), key=key, timeout=TAKEN_SECONDS)
    child, identity = one_line(result.get("childSessionKey")), one_line(result.get("runId"))
    started = f"started {child}\nrun {identity}   (peergate wait {identity})"
    failed = f"{one_line(result.get('status'))}: {one_line(result.get('error'), 2000)}"
    _finish(run, result, started if result.get("status") == "accepted" else failed)


def _finish(run: Invocation, result: Mapping[str, Any], text: str) -> None:
    """Print a tool's result; its status is the exit code."""
    code = {"forbidden": NOT_ALLOWED, "error": FAILED, "timeout": FAILED}.get(str(result.get("status")), 0)
    if run.json:
        print_json(result)
    else:
        (note if code else click.echo)(text)
    _exit(code)


def _exit(code: int) -> None:
    if code:
        click.get_current_context().exit(code)
