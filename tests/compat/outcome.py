"""What a client was told, in a form two gateways can be compared in. Pure.

Owns the two comparisons: of an answer to connect, field by field with its values; and of what a call answers, place by
place with the kinds of values. What no two conversations share (ids, tokens, times) is replaced by its kind first."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, object]

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DEVICE = re.compile(r"[0-9a-f]{64}")
CUT = re.compile(r"requestId: [^)]*$")
CUT_OFF = "<cut>"
"""Stands for a text that ends within a request's id: both cut it there, and the error has the whole."""
OF_ONE_CONVERSATION = {"deviceToken": "<token>", "recoveryScope": "<hash>", "issuedAtMs": "<ms>", "requestId": "<id>"}
OF_ONE_CONVERSATION |= {"deviceId": "<device>"}


def outcome_of(answer: Mapping[str, Any] | None, close: tuple[int | None, str] | None) -> Fields:
    """The fields of an answer to connect, and of the Close frame behind it."""
    fields: Fields = {}
    if answer is not None:
        fields["ok"] = answer["ok"]
        told = {"auth": answer["payload"]["auth"]} if answer["ok"] else {"error": answer["error"]}
        fields |= flat(told)
    if close is not None:
        fields |= {"close.code": close[0], "close.reason": without_ids(close[1])}
        fields |= {"close.reason": CUT_OFF} if CUT.search(close[1]) else {}
    return fields


def flat(tree: Mapping[str, Any], above: str = "") -> Fields:
    """Every value under its path; lists as they are."""
    fields: Fields = {}
    for name, value in tree.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            fields |= flat(value, f"{path}.")
        elif name in OF_ONE_CONVERSATION:
            fields[path] = OF_ONE_CONVERSATION[name]
        else:
            fields[path] = without_ids(value) if isinstance(value, str) else value
    return fields


def without_ids(text: str) -> str:
    """A text with its request and device ids named instead."""
    return DEVICE.sub("<device>", UUID.sub("<id>", text))


@dataclass
class Differences:
    """What is allowed to be different, by name of the case; keeps what was used of it."""

    rules: tuple[Rule, ...]
    said: set[tuple[str, str]] = field(default_factory=set)
    met: set[tuple[str, str]] = field(default_factory=set)

    def explain(self, case: str, theirs: Fields, ours: Fields) -> Fields:
        """What `ours` differs in and no rule explains: field to what we say. Empty is what a test wants."""
        left: Fields = {}
        for name in sorted(theirs.keys() | ours.keys() | {one for rule in self.rules for one in rule.ours}):
            said = ours.get(name, ABSENT)
            rules = [(rule, found) for rule in self.rules if (found := rule.explains(case, name, said))]
            self.said |= {(rule.why, name) for rule, _ in rules}
            if said != theirs.get(name, ABSENT):
                self.met |= {(rule.why, pattern) for rule, pattern in rules}
                if not rules:
                    left[name] = said
        return left

    def unused(self) -> list[tuple[str, str]]:
        """Cases where a rule explained nothing, and fields that we do not say as it has them."""
        every = {(rule.why, one) for rule in self.rules for one in rule.cases} - self.met
        return sorted(every | ({(rule.why, name) for rule in self.rules for name in rule.ours} - self.said))


ABSENT = "<absent>"


@dataclass(frozen=True)
class Rule:
    """One reason, the cases it holds for (patterns), and what we say there instead (ABSENT: nothing)."""

    why: str
    cases: tuple[str, ...]
    ours: Mapping[str, object]

    def explains(self, case: str, name: str, said: object) -> str:
        """The pattern by which it has us say `said` there; empty when it does not."""
        if self.ours.get(name, _NOTHING) != said:
            return ""
        return next((one for one in self.cases if fnmatch.fnmatchcase(case, one)), "")


_NOTHING = object()


# --- what calls answer ------------------------------------------------------------------------------------------------


def kinds_of(value: Any, above: str = "") -> dict[str, set[str]]:
    """Every place in a document and the kinds of value found there. Members of a list share a place; a template may
    stand for a document: a type for any value of it, a value for itself alone."""
    found: dict[str, set[str]] = {}
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _merge(found, kinds_of(inner, f"{above}.{name}" if above else name))
    elif isinstance(value, list):
        for inner in value:
            _merge(found, kinds_of(inner, f"{above}[]"))
    if above:
        _merge(found, {above: {_kind(value)}})
    return found


def _merge(into: dict[str, set[str]], more: Mapping[str, set[str]]) -> None:
    for name, kinds in more.items():
        into.setdefault(name, set()).update(kinds)


def _kind(value: Any) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "text", type(None): "null", dict: "object"}
    if isinstance(value, type):
        return names[value]
    return "list" if isinstance(value, list) else names[type(value)]


def changes(theirs: Any, ours: Any) -> set[str]:
    """Where two documents differ: `-place` is missing in ours, `+place` only there, `~place` of another kind. Of what
    is missing as a whole, its parts are not told; a list that is empty may have any members."""
    there, here = kinds_of(theirs), kinds_of(ours)
    for one, other in ((there, here), (here, there)):
        empty = [f"{place}[]" for place, kinds in one.items() if "list" in kinds and f"{place}[]" not in one]
        for place in [each for each in other if each.startswith(tuple(empty)) and each not in one]:
            del other[place]
    found = {f"-{place}" for place in there.keys() - here.keys()} | {
        f"+{place}" for place in here.keys() - there.keys()
    }
    found |= {f"~{place}" for place in there.keys() & here.keys() if not here[place] <= there[place]}
    return {one for one in found if not _is_inside(one, found)}


def _is_inside(one: str, others: Iterable[str]) -> bool:
    return any(one.startswith((f"{other}.", f"{other}[")) for other in others)
