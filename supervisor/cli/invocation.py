"""One invocation of the command line: what its flags and environment said, and the frame every command has.

Owns: `--runtime-dir`, `--state-dir`, `--config`, `--url` and what goes with it, `--json`, which are understood before
and after the command's name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import click

from supervisor.cli import paths
from supervisor.cli.address import RemoteDoor, RemoteFlags, is_local, remote_door
from supervisor.cli.output import print_json, say

P = ParamSpec("P")


@dataclass(slots=True)
class Invocation:
    """What was said on the command line, and the places that follow from it."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    uid: int = field(default_factory=os.geteuid)
    runtime_flag: str | None = None
    state_flag: str | None = None
    config_flag: str | None = None
    json: bool = False
    elsewhere: RemoteFlags = field(default_factory=RemoteFlags)
    at_home: bool = False
    """Whether the command is about this machine whatever the environment says."""

    @property
    def remote(self) -> RemoteDoor | None:
        """The system elsewhere that is meant, if one is. Raises Usage."""
        if self.at_home:
            return None
        return remote_door(self.elsewhere, self.environ, here=self.runtime_flag is not None)

    @property
    def doors(self) -> list[str]:
        """The sockets to try, or the one address over the network."""
        if door := self.remote:
            return [door]
        return paths.doors(self.runtime_flag, self.environ, self.uid)

    @property
    def running_dir(self) -> str:
        """The runtime directory to look for a system in."""
        return paths.running_dir(self.runtime_flag, self.environ, self.uid)

    @property
    def operator_door(self) -> str:
        return f"{self.running_dir}/{paths.OPERATOR}"

    @property
    def runtime_dir(self) -> str:
        """Where a system of this user would be started."""
        return paths.runtime_dir(self.runtime_flag, self.environ, self.uid)

    @property
    def state_dir(self) -> str:
        return paths.state_dir(self.state_flag, self.environ, self.uid)

    @property
    def config(self) -> str | None:
        return paths.config_file(self.config_flag, self.environ)

    def answer(self, document: object, text: Callable[[], str]) -> None:
        """Print the document for a program, or what `text` makes of it for a person."""
        if self.json:
            print_json(document)
        elif words := text():
            say(words)


def _remember(name: str, *, elsewhere: bool = False) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            run = context.ensure_object(Invocation)
            setattr(run.elsewhere if elsewhere else run, name, value)

    return callback


def common_options() -> list[click.Option]:
    """Fresh copies of the options every command has."""

    def place(flag: str, name: str, variable: str, what: str) -> click.Option:
        path = click.Path(readable=False)  # 0711: entered, not listed
        text = f"{what}  [env: {variable}]"
        return click.Option([flag], type=path, expose_value=False, callback=_remember(name), help=text, metavar="PATH")

    def far(flag: str, name: str, metavar: str, what: str) -> click.Option:
        keep = _remember(name, elsewhere=True)
        return click.Option([flag], expose_value=False, callback=keep, help=what, metavar=metavar)

    return [
        place("--runtime-dir", "runtime_flag", "PEERGATE_RUNTIME_DIR", "Where the sockets are."),
        place("--state-dir", "state_flag", "PEERGATE_STATE_DIR", "Where the database, the lock and the log are."),
        place("--config", "config_flag", "PEERGATE_CONFIG", "The configuration file."),
        far("--url", "url", "URL", "A system elsewhere, such as wss://host:18789.  [env: PEERGATE_URL]"),
        far("--token", "token", "TOKEN", "Its shared token (others see a command line).  [env: PEERGATE_TOKEN]"),
        far("--token-file", "token_file", "FILE", "The file that token is in."),
        far("--password", "password", "TEXT", "Its shared password instead.  [env: PEERGATE_PASSWORD]"),
        far("--fingerprint", "fingerprint", "SHA256", "The certificate that must be there."),
        click.Option(
            ["--json"], is_flag=True, expose_value=False, callback=_remember("json"), help="Print one JSON document."
        ),
    ]


def examples(*lines: str) -> str:
    """An epilog that click leaves as it is."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def framed(made: click.Command, *lines: str) -> click.Command:
    """Give a command the common options and its examples."""
    made.params += common_options()
    made.epilog = examples(*lines)
    return made


def _first_word(context: click.Context) -> str:
    """The name of the command below `peergate`, also when a command of its group runs."""
    while context.parent is not None and context.parent.parent is not None:
        context = context.parent
    return context.info_name or ""


def command(
    name: str, *lines: str, passthrough: bool = False
) -> Callable[[Callable[Concatenate[Invocation, P], None]], click.Command]:
    """Make a function a command: it gets the invocation first. `lines` are its examples.

    `passthrough` lets values begin with a dash (a message to an agent may be anything)."""

    def decorate(function: Callable[Concatenate[Invocation, P], None]) -> click.Command:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            context = click.get_current_context()
            invocation = context.ensure_object(Invocation)
            invocation.at_home = is_local(_first_word(context), invocation.elsewhere)
            function(invocation, *args, **kwargs)

        settings = {"ignore_unknown_options": True} if passthrough else {}
        return framed(click.command(name, context_settings=settings)(run), *lines)

    return decorate
