"""`peergate completion`: the script a shell reads to complete commands and options."""

from __future__ import annotations

import click

from supervisor.cli.errors import CliError
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import print_json

SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    'eval "$(peergate completion bash)"        # in ~/.bashrc',
    'eval "$(peergate completion zsh)"         # in ~/.zshrc',
    "peergate completion fish > ~/.config/fish/completions/peergate.fish",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(run: Invocation, shell: str) -> None:
    """Print the script that completes peergate's commands and options in SHELL, and the names of agents and (not in
    bash) sessions while a system runs."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise CliError(f"there is no completion for {shell}")
    root = click.get_current_context().find_root().command
    # source_template: source() starts a bash to look at its version, which a machine with only zsh does not have.
    made = found(root, {}, "peergate", "_PEERGATE_COMPLETE")
    script = made.source_template % made.source_vars()
    if run.json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
