"""`peergate config`: read, check and describe the configuration, with the gateway's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.asking import ask
from supervisor.cli.errors import BadConfig
from supervisor.cli.invocation import Invocation, command, framed
from supervisor.cli.output import note, print_json, say
from supervisor.cli.status import tree_text

if TYPE_CHECKING:
    from gateway.config import ConfigError, Loaded


@click.group("config")
def _config() -> None:
    """Read, check and describe the configuration."""


config = framed(
    _config,
    "peergate config validate",
    "peergate config get agents.defaults",
    "peergate config schema > peergate.schema.json",
)


def load(run: Invocation, file: str | None) -> Loaded:
    """The configuration as `up` would read it. Raises BadConfig with every problem."""
    from gateway.config import ConfigError, load

    try:
        return load(Path(file) if file else _path(run), environ=run.environ)
    except ConfigError as error:
        raise bad_config(error) from None


def bad_config(error: ConfigError) -> BadConfig:
    """Every problem, one line each."""
    return BadConfig(f"the configuration cannot be used:\n{error}", fix="peergate config schema describes every key")


def _path(run: Invocation) -> Path | None:
    return Path(run.config) if run.config else None


@command("get", "peergate config get", "peergate config get gateway.port", "peergate config get --running")
@click.argument("key", required=False, default="")
@click.option("--running", is_flag=True, help="What the running system uses instead of what the file says.")
def get(run: Invocation, key: str, running: bool) -> None:
    """Print the value at KEY (dotted), or everything: defaults, file and environment together. Secrets are hidden."""
    from gateway.config import ConfigError, find_key

    if running:
        value = _below(ask(run.doors, "config.get"), key)
    else:
        loaded = load(run, None)
        try:
            value = find_key(loaded.settings, key)
        except ConfigError as error:
            raise bad_config(error) from None
    _print(run, value)


def _below(tree: Any, key: str) -> Any:
    told = tree.get("config") or tree.get("settings") or tree
    for part in key.split(".") if key else ():
        if not isinstance(told, dict) or part not in told:
            raise BadConfig(f"{key}: the running system has no such key")
        told = told[part]
    return told


def _print(run: Invocation, value: Any) -> None:
    if run.json:
        print_json(value)
    elif isinstance(value, dict):
        say(tree_text(value))
    elif isinstance(value, list | tuple | bool) or value is None:
        print_json(value)
    else:
        say(str(value))


@command("validate", "peergate config validate", "peergate config validate ./openclaw.json --json")
@click.argument("file", required=False, type=click.Path())
def validate(run: Invocation, file: str | None) -> None:
    """Check FILE, or the configuration `up` would read, as `up` would; every problem with its key and the nearest
    spelling.

    Exit code 78 when it cannot be used. --json prints {ok, source, warnings[], problems[{path, found, allowed,
    hint}]}."""
    from gateway.config import EXIT_CONFIG, ConfigError, load
    from gateway.config.resolve import read_host, resolve

    try:
        loaded = load(Path(file) if file else _path(run), environ=run.environ)
        resolve(loaded, read_host(loaded.settings))
    except ConfigError as error:
        if not run.json:
            raise bad_config(error) from None
        problems = [
            {name: getattr(each, name) for name in ("path", "found", "allowed", "hint")} for each in error.problems
        ]
        print_json({"ok": False, "source": file, "warnings": [], "problems": problems})
        click.get_current_context().exit(EXIT_CONFIG)
    source = str(loaded.source) if loaded.source else None
    if run.json:
        print_json({"ok": True, "source": source, "warnings": list(loaded.warnings), "problems": []})
        return
    for warning in loaded.warnings:
        note(f"warning: {warning}")
    say(f"{source or 'the defaults (there is no file)'}: can be used")


@command("path", "peergate config path")
def path(run: Invocation) -> None:
    """Print which file `up` would read. Exit code 1 when there is none; `peergate init` writes one."""
    from gateway.config.loader import find

    found = find(_path(run), run.environ)
    document = {"file": str(found) if found else None, "exists": bool(found and found.exists())}
    run.answer(document, lambda: str(found) if found else "none: the defaults are used (peergate init writes one)")
    if found is None:
        click.get_current_context().exit(1)


@command("schema", "peergate config schema > peergate.schema.json")
def schema(run: Invocation) -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from gateway.config import json_schema

    print_json(json_schema())


for each in (get, validate, path, schema):
    _config.add_command(each)
