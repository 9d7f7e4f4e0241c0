"""What is wrong with a configuration, said so that a person can mend it.

Owns the wording of a problem and the rule that a secret is never part of it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence

from msgspec import Struct

EXIT_CONFIG = 78
"""Exit status of everything that stops because of the configuration (EX_CONFIG; systemd's RestartPreventExitStatus)."""

_SECRET = ("token", "password", "secret", "apikey")
_SHOWN = 60


class Problem(Struct, frozen=True):
    """One thing that is wrong: where, what was found, what is allowed, and how to mend it."""

    path: str
    found: str
    allowed: str
    hint: str = ""
    origin: str = ""

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.origin, self.path) if part)
        said = "; ".join(part for part in (f"found {self.found}", f"allowed: {self.allowed}", self.hint) if part)
        return f"{where}: {said}" if where else said


class ConfigError(Exception):
    """The configuration cannot be used. `problems` holds every reason; the text has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def is_secret(path: str) -> bool:
    """Whether the value at a dotted path must not be shown: tokens, passwords, and agents' environments."""
    keys = path.lower().split(".")
    return "env" in keys[:-1] or keys[-1].endswith(_SECRET)


def shown(value: object, path: str) -> str:
    """`value` as a problem may quote it: short, JSON-like, and never a secret."""
    kind = _kind_of(value)
    if value is None or isinstance(value, (dict, list)) or is_secret(path):
        return kind
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool, int, float)) else kind
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _kind_of(value: object) -> str:
    names = ((type(None), "null"), (bool, "true or false"), (str, "a string"), ((int, float), "a number"))
    more = ((dict, "a table"), (list, "a list"))
    return next((name for kinds, name in (*names, *more) if isinstance(value, kinds)), f"a {type(value).__name__}")


def fold(word: str) -> str:
    """`word` without the differences people forget: case, dashes, underscores."""
    return word.replace("_", "").replace("-", "").casefold()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word a misspelt one most likely meant, or None."""
    folded: dict[str, str] = {fold(name): name for name in sorted(known)}
    close = difflib.get_close_matches(fold(word[:100]), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest spelling, or an empty one."""
    meant = nearest(word, known)
    return f'did you mean "{meant}"?' if meant else ""
