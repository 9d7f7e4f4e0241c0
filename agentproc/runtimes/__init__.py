"""The runtimes, by the name a configuration gives them. Owns: `runtime_for`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentproc.runtimes.base import Broken, Runtime
from agentproc.runtimes.command import CommandRuntime
from agentproc.runtimes.python import PythonRuntime

DEFAULT_ENTRY = "agentproc.builtin.main:turn"


def runtime_for(spec: Mapping[str, Any], *, output_bytes: int | None = None) -> Runtime:
    """The runtime an agent's configuration asks for; one that cannot be served fails each turn saying so."""
    match spec.get("type", "python"):
        case "python":
            return PythonRuntime(spec.get("entry") or DEFAULT_ENTRY, spec.get("path"), output_bytes)
        case "command":
            return CommandRuntime.configured(spec, output_bytes)
        case other:
            return Broken(f'the runtime "{other}" is not served by this version; use python or command')
