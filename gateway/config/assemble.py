"""The order of the layers: file, then environment, then command line; checked once, whole or not at all.

Pure: everything that was read is an argument. `loader.py` does the reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from gateway.config.known import prune
from gateway.config.layers import Layer, lay_over
from gateway.config.older import Modern, modernise
from gateway.config.parse import substitute
from gateway.config.problem import ConfigError, Problem
from gateway.config.rules import notices
from gateway.config.settings import Settings
from gateway.config.validate import Anchor, as_it_is, validate


def assemble(
    tree: dict[str, object],
    layers: Sequence[Layer] = (),
    *,
    environ: Mapping[str, str],
    origin: str = "",
    anchor: Anchor = as_it_is,
) -> tuple[Settings, list[str]]:
    """The settings and the warnings. `origin` names the file. Raises ConfigError with every problem of every layer."""
    modern = modernise(tree)
    served, unserved = prune(modern.tree)
    filled, missing = substitute(served, environ)
    for layer in layers:
        filled = lay_over(filled, layer)
    final, unserved_above = prune(filled)
    settings, wrong = validate(final, anchor)
    problems = [*modern.problems, *missing, *_not_at(wrong, missing)]
    if settings is None or problems:
        raise ConfigError([_placed(problem, modern, layers, origin) for problem in problems])
    dropped = dict.fromkeys([*map(modern.as_written, unserved), *unserved_above])
    return settings, [*(f"{path}: known to OpenClaw, not served here; ignored" for path in dropped), *notices(settings)]


def _not_at(wrong: Iterable[Problem], missing: Iterable[Problem]) -> list[Problem]:
    """Problems elsewhere: where a variable is missing, the hole it leaves is not a second fault."""
    holes = {problem.path for problem in missing}
    return [problem for problem in wrong if problem.path not in holes]


def _placed(problem: Problem, modern: Modern, layers: Sequence[Layer], origin: str) -> Problem:
    """The problem with the key as the person wrote it, and the layer it came from."""
    for layer in reversed(layers):
        if problem.path == layer.path or problem.path.startswith((f"{layer.path}.", f"{layer.path}[")):
            return structs.replace(problem, origin=layer.origin)
    return structs.replace(problem, path=modern.as_written(problem.path), origin=origin)
