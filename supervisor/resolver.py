"""Starting the short-lived process that reads the configuration: `python -I -m gateway.config --resolve`.

Owns: its command line. Apart from `settings`, which understands what it prints, so that it can be started before
anything slow is imported and read meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def start_resolver(config: str | None, overrides: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start it, in the main thread: a few hundred microseconds. It gets our whole environment, which a file may refer
    to as `${VAR}`; -I and a working directory of / keep everything else from deciding what code it runs."""
    command = [sys.executable, "-I", "-m", "gateway.config", "--resolve"]
    command += ["--config", config] if config else []
    for override in overrides:
        command += ["--set", override]
    return subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
