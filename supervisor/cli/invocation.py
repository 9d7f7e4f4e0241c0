"""One invocation of the command line: what its flags and environment said, and the frame every command has.

Owns: `--runtime-dir`, `--state-dir`, `--config`, `--json`, which are understood before and after the command's name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import click

from supervisor.cli import paths
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

    @property
    def doors(self) -> list[str]:
        """The sockets to try."""
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


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            setattr(context.ensure_object(Invocation), name, value)

    return callback


def common_options() -> list[click.Option]:
    """Fresh copies of the options every command has."""

    def place(flag: str, name: str, variable: str, what: str) -> click.Option:
        path = click.Path(readable=False)  # 0711: entered, not listed
        text = f"{what}  [env: {variable}]"
        return click.Option([flag], type=path, expose_value=False, callback=_remember(name), help=text, metavar="PATH")

    return [
        place("--runtime-dir", "runtime_flag", "PEERGATE_RUNTIME_DIR", "Where the sockets are."),
        place("--state-dir", "state_flag", "PEERGATE_STATE_DIR", "Where the database, the lock and the log are."),
        place("--config", "config_flag", "PEERGATE_CONFIG", "The configuration file."),
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


def command(
    name: str, *lines: str, passthrough: bool = False
) -> Callable[[Callable[Concatenate[Invocation, P], None]], click.Command]:
    """Make a function a command: it gets the invocation first. `lines` are its examples.

    `passthrough` lets values begin with a dash (a message to an agent may be anything)."""

    def decorate(function: Callable[Concatenate[Invocation, P], None]) -> click.Command:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            function(click.get_current_context().ensure_object(Invocation), *args, **kwargs)

        settings = {"ignore_unknown_options": True} if passthrough else {}
        return framed(click.command(name, context_settings=settings)(run), *lines)

    return decorate
