"""The schema as a document, one value by its key, and the settings as they may be shown.

Owns what `config schema`, `config get` and every display of the settings print."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from gateway.config.kinds import ROOT, locate, structs_in
from gateway.config.known import KNOWN
from gateway.config.problem import ConfigError, Problem, did_you_mean, is_secret
from gateway.config.section import HIDDEN
from gateway.config.settings import Settings


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a configuration file, for editors. The same on every machine."""
    schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Settings)))
    definitions = schema["$defs"]
    _accept_what_is_not_served(definitions)
    for definition in definitions.values():
        for field in definition["properties"].values():
            if isinstance(field.get("default"), dict):  # said again, field by field, where the table is defined
                del field["default"]
    del definitions["AgentDefaults"]["properties"]["maxConcurrent"]["default"]  # four per processor of this machine
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "peergate configuration", **schema}


def _accept_what_is_not_served(definitions: dict[str, Any]) -> None:
    """Let an editor accept what a start accepts: OpenClaw's keys that only give a warning, and older spellings."""
    for place, names in KNOWN.items():
        [table] = structs_in(locate(place.split("."))[1] or ROOT)
        known = {name: {"description": "OpenClaw's; not served here."} for name in sorted(names)}
        definitions[table.cls.__name__]["properties"] |= known
    definitions["Settings"]["properties"] |= {"$schema": {"type": "string"}, "agentDefaults": _older("agents.defaults")}
    definitions["Agents"]["properties"]["list"] = {"type": "array", "items": {"type": "object"}, **_older("entries")}
    definitions["Logging"]["properties"]["maxFileBytes"] = {"type": "integer", **_older("maxBytes")}


def _older(today: str) -> dict[str, object]:
    return {"description": f"Older form of {today}.", "deprecated": True}


def tree_of(settings: Settings) -> dict[str, object]:
    """The settings as a plain tree with the names of the file, secrets included."""
    return cast("dict[str, object]", msgspec.to_builtins(settings))


def redacted(tree: object, path: str = "") -> object:
    """`tree` with every secret that is set replaced by a mark; keys stay, so that one sees that there is one."""
    if isinstance(tree, dict):
        return {key: redacted(value, f"{path}.{key}" if path else key) for key, value in tree.items()}
    return HIDDEN if tree and path and is_secret(path) else tree


def find_key(settings: Settings, key: str) -> object:
    """The value at a dotted key, secrets hidden; "" is everything. Raises ConfigError with the nearest spelling."""
    value, walked = redacted(tree_of(settings)), ""
    for part in key.split(".") if key else ():
        if not isinstance(value, dict) or part not in value:
            known = list(value) if isinstance(value, dict) else []
            allowed = ", ".join(known) or "nothing below this key"
            raise ConfigError([Problem(f"{walked}{part}", "an unknown key", allowed, did_you_mean(part, known))])
        value, walked = value[part], f"{walked}{part}."
    return value
