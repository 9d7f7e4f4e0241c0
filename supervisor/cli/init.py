"""`peergate init`: a commented configuration to begin with."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

import click

from supervisor.cli.errors import CliError, NotAllowed
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.paths import new_config_file
from supervisor.cli.template import TEMPLATE


@command("init", "peergate init", "peergate init ./peergate.toml", "peergate init --force")
@click.argument("path", required=False, type=click.Path(dir_okay=False))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(run: Invocation, path: str | None, force: bool) -> None:
    """Write a configuration with two offline agents and every usual key explained, to PATH or the default place.

    --json prints {file, replaced, next[]}."""
    target = os.path.abspath(path) if path else new_config_file(run.config_flag, run.environ, run.uid)
    if not target.endswith(".toml"):
        raise CliError(f"{target}: the file is written as TOML, so its name must end in .toml")
    replaced = os.path.lexists(target)
    if replaced and not force:
        raise CliError(f"{target} is there already", fix="--force replaces it; peergate config validate checks it")
    _write(target)
    named = "" if not path and not run.config else f" --config {target}"
    steps = [f"peergate config validate {target}", f"peergate up{named}", 'peergate send main "hello"']
    document = {"file": target, "replaced": replaced, "next": steps}
    run.answer(document, lambda: "\n".join([f"wrote {target}", "next:", *(f"  {step}" for step in steps)]))


def _write(target: str) -> None:
    """Whole or not at all, readable by the owner alone: a token may be written into it later."""
    temporary = f"{target}.{secrets.token_hex(4)}"
    try:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(TEMPLATE)
        os.replace(temporary, target)
    except PermissionError as error:
        raise NotAllowed(f"uid {os.geteuid()} may not write {target}: {error.strerror}") from None
    except OSError as error:
        raise CliError(f"cannot write {target}: {error.strerror}") from None
    finally:
        with suppress(OSError):  # it has its name, or could not even be made
            os.unlink(temporary)
