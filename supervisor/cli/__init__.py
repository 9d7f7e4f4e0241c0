"""The command line `peergate`: the table of commands, and the one place that prints errors and chooses exit codes.

A command's module is imported when it is used; `--help` is made from the table alone. Nothing of the daemon imports
this package, and nothing here runs as part of it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from supervisor.cli.errors import INTERRUPTED, USAGE, CliError, Usage
from supervisor.cli.invocation import Invocation, common_options
from supervisor.cli.output import note, print_json


class Entry(NamedTuple):
    """Where a command is, and its line in the list of commands."""

    place: str
    summary: str


COMMANDS = {
    "up": Entry("up:up", "Start the system in the foreground."),
    "init": Entry("init:init", "Write a configuration to begin with."),
    "demo": Entry("demo:demo", "Show two agents and many sub-agents at work, offline."),
    "doctor": Entry("doctor:doctor", "Check this machine and the running system; say how to mend what is wrong."),
    "status": Entry("status:status", "Everything about the running system in one answer."),
    "health": Entry("status:health", "Is it well, and how busy."),
    "ps": Entry("status:ps", "The process tree with agent, session, uid, state, memory."),
    "agents": Entry("agents:agents", "List agents; stop, restart, quarantine or release one."),
    "sessions": Entry("sessions:sessions", "List sessions."),
    "history": Entry("sessions:history", "Print a session's transcript."),
    "runs": Entry("runlist:runs", "List runs: under way, waiting and for what, ended and how."),
    "send": Entry("send:send", "Send a message to an agent or session and print the reply."),
    "spawn": Entry("send:spawn", "Start a sub-agent on a task."),
    "abort": Entry("runs:abort", "Abort a run, or what a session is doing, and what it started."),
    "mailbox": Entry("mailbox:mailbox", "Messages nobody is through with; retry or drop a parked one."),
    "cron": Entry("cron:cron", "Jobs that run by the clock: make, list, change, run; when an expression comes true."),
    "wake": Entry("cron:wake", "Say something to a session, now or with its next run."),
    "devices": Entry("devices:devices", "Devices that come over the network: approve, reject, remove."),
    "pair": Entry("pair:pair", "Pair this device with a gateway elsewhere (see --url)."),
    "qr": Entry("qr:qr", "Print a setup code for a device, as text and as a picture to scan."),
    "cert": Entry("cert:cert", "The certificate of the outer door: show it, make a new one."),
    "audit": Entry("audit:audit", "What was asked, granted and refused at the outer door."),
    "wait": Entry("runs:wait", "Wait for a run and print its result."),
    "logs": Entry("stream:logs", "Print the log."),
    "events": Entry("stream:events", "Print what happens as it happens."),
    "call": Entry("call:call", "Call any method of the gateway."),
    "backup": Entry("backup:backup", "Copy the database to a file while everything goes on."),
    "recover": Entry("backup:recover", "Save what can be read of a damaged database."),
    "restore": Entry("backup:restore", "Put a backup in the place of the database."),
    "config": Entry("config:config", "Read, check and describe the configuration."),
    "stop": Entry("control:stop", "Stop the running system."),
    "reload": Entry("control:reload", "Make the running system read its configuration again."),
    "version": Entry("version:version", "Print versions."),
    "completion": Entry("completion:completion", "Print the script that completes commands in a shell."),
}

EPILOG = """\b
Exit codes:
  0   done
  1   refused or failed
  2   the command line makes no sense
  69  no system is running here, or it does not answer
  77  not allowed
  78  the configuration is wrong

\b
Start with:
  peergate demo
  peergate init && peergate up
"""


class Commands(click.Group):
    """The table as a group that imports a command when somebody uses it."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].place.partition(":")
        found: click.Command = getattr(importlib.import_module(f"supervisor.cli.{module}"), attribute)
        return found

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib  # costs a tenth of a short command, and most command lines are right

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"There is no command '{args[0]}'.{meant}", context)
        return super().resolve_command(context, args)


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from supervisor.cli.version import own_version

        click.echo(f"peergate {own_version()}")
        context.exit()


peergate = Commands(
    "peergate",
    params=[
        *common_options(),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the version.",
        ),
    ],
    help="Run several AI agents on one machine, and talk to them. Inside, the kernel says who is calling and nobody "
    "pairs; other machines do.",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Always ends with SystemExit."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; its exit code. An expected error is printed as one sentence, never as a traceback."""
    invocation = Invocation()
    try:
        ended: Any = peergate.main(
            None if arguments is None else list(arguments), "peergate", obj=invocation, standalone_mode=False
        )
    except CliError as error:
        return _tell(invocation, error)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        if _wants_json(sys.argv[1:] if arguments is None else arguments):
            _print_error(CliError.code if error.exit_code != USAGE else Usage.code, *_click_words(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read us has seen enough (`peergate logs | head`); the interpreter must not try to flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    # click hands over what `Context.exit` was given, and a command's own return value; ours return nothing.
    return ended if isinstance(ended, int) else 0


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether --json was said. A command line that could not be read set no flag."""
    words = list(arguments)
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def _click_words(error: click.ClickException) -> tuple[str, int, str | None]:
    """Message, exit code and fix of an error of click's."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = "Missing command." if isinstance(error, click.exceptions.NoArgsIsHelpError) else error.format_message()
    return message, error.exit_code, f"{context.command_path} --help" if context is not None else None


def _print_error(code: str, message: str, exit_code: int, fix: str | None, **more: str | None) -> None:
    told = {"code": code, "message": message, "exitCode": exit_code, "fix": fix, **more}
    print_json({"error": {name: value for name, value in told.items() if value is not None}})


def _tell(invocation: Invocation, error: CliError) -> int:
    if invocation.json:
        about = {"method": error.method, "idempotencyKey": error.key}
        _print_error(error.code, error.message, error.exit_code, error.fix, **about)
    note(f"peergate: {error.message}")
    if error.fix:
        note(f"  {error.fix}")
    return error.exit_code


__all__ = ["COMMANDS", "main", "peergate", "run"]
