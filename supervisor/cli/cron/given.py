"""What a person writes of a job on a command line, made into what travels. Pure: the time is an argument.

Owns the sentences that name a flag and say what it takes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gateway.protocol.spans import EXAMPLES, parse_span
from supervisor.cli.errors import Usage
from supervisor.cli.targets import session_key

MOST_STAGGER_MS = 86_400_000
_KINDS = {"agentTurn": "message", "command": "command"}


def span_of(flag: str, text: str, *, least: int = 1) -> int:
    """Milliseconds. Raises Usage."""
    found = parse_span(text)
    if found is None:
        raise Usage(f'{flag} "{text}" is no length of time; write one such as {EXAMPLES}')
    if found < least:
        raise Usage(f'{flag} "{text}" is too short; the least is {least} ms')
    return found


def zone_of(tz: str) -> ZoneInfo:
    """A time zone by its name. Raises Usage."""
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError; a directory's name is an OSError
        raise Usage(f'--tz "{tz}" is unknown; write an IANA name such as Europe/Berlin or UTC') from None


def instant_of(text: str, tz: str | None, now_ms: int) -> str:
    """`--at`: a time from now (20m), milliseconds since the epoch, or ISO-8601, which without an offset is a wall clock
    in `tz`, or in UTC. In the form that travels. Raises Usage."""
    zone = UTC if tz is None else zone_of(tz)
    if (ahead := parse_span(text)) is not None:
        return _written(datetime.fromtimestamp(now_ms / 1000, UTC) + timedelta(milliseconds=ahead))
    if text.isdigit():
        return text
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Usage(
            f'--at "{text}" is no time; write 2027-03-28T09:00 (with --tz, or in UTC), 2027-03-28T09:00:00+01:00, '
            f"or a time from now such as {EXAMPLES}"
        ) from None
    if when.tzinfo is not None:
        return _written(when)
    here = when.replace(tzinfo=zone)
    if here.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != when:
        raise Usage(f'--at "{text}" does not exist in {tz}: the clocks are put forward over it; name another time')
    return _written(here)


def _written(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def schedule_of(given: Mapping[str, Any], now_ms: int) -> dict[str, Any] | None:
    """The schedule that is given; None for none. Raises Usage for several, and for what does not go together."""
    kinds = [kind for kind in ("every", "cron", "at") if given.get(kind) is not None]
    if len(kinds) > 1:
        raise Usage(f"give one of --every, --cron and --at, not {' and '.join(f'--{kind}' for kind in kinds)}")
    kind = kinds[0] if kinds else None
    if given.get("tz") is not None and kind not in ("cron", "at"):
        raise Usage("--tz goes with --cron or --at")
    if kind != "cron" and (given.get("stagger") is not None or given.get("exact")):
        raise Usage("--stagger and --exact go with --cron")
    match kind:
        case "every":
            return {"kind": "every", "everyMs": span_of("--every", given["every"], least=1000)}
        case "at":
            return {"kind": "at", "at": instant_of(given["at"], given.get("tz"), now_ms)}
        case "cron":
            return _cron_of(given)
        case _:
            return None


def _cron_of(given: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": "cron", "expr": given["cron"]}
    if given.get("tz") is not None:
        made["tz"] = zone_of(given["tz"]).key
    if given.get("exact") and given.get("stagger") is not None:
        raise Usage("give --stagger or --exact, not both")
    if given.get("exact"):
        made["staggerMs"] = 0
    elif given.get("stagger") is not None:
        made["staggerMs"] = span_of("--stagger", given["stagger"], least=0)
        if made["staggerMs"] > MOST_STAGGER_MS:
            raise Usage(f'--stagger "{given["stagger"]}" is too long; the most is 1d')
    return made


def payload_of(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a job does; None when nothing is said of it. `payload_kind` is what the job does already, where that stays.
    Raises Usage."""
    kinds = [kind for kind in ("message", "command", "system_event") if given.get(kind) is not None]
    if len(kinds) > 1:
        raise Usage("give one of --message, --command and --system-event")
    kind = kinds[0] if kinds else _KINDS.get(given.get("payload_kind", ""))
    if kind != "command" and (given.get("cwd") is not None or given.get("env")):
        raise Usage("--cwd and --env go with --command")
    seconds = given.get("timeout_seconds")
    if seconds is not None and kind not in ("message", "command"):
        raise Usage("--timeout-seconds goes with --message or --command")
    limit = {"timeoutSeconds": seconds} if seconds is not None else {}
    match kind:
        case "message":
            said = {"message": given["message"]} if kinds else {}
            return {"kind": "agentTurn", **said, **limit}
        case "system_event":
            return {"kind": "systemEvent", "text": given["system_event"]}
        case "command":
            argv = {"argv": words_of(given["command"])} if kinds else {}
            return {"kind": "command", **argv, **limit, **_surroundings(given)}
        case _:
            return None


def words_of(text: str) -> list[str]:
    """`--command` as a shell would take it apart; no shell runs it. Raises Usage."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Usage(f"--command: {str(error).lower()}; quote it as for a shell") from None
    if not words:
        raise Usage('--command is empty; write a program and its arguments, such as "df -h /"')
    return words


def _surroundings(given: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if given.get("cwd") is not None:
        made["cwd"] = given["cwd"]
    if pairs := given.get("env"):
        made["env"] = _environment(pairs)
    return made


def _environment(pairs: Sequence[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if pair.partition("=")[0] == "" or "=" not in pair]
    if wrong:
        raise Usage(f'--env "{wrong[0]}" is not NAME=VALUE')
    return dict(pair.split("=", 1) for pair in pairs)


def delivery_of(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where a result goes; None when nothing is said of it. Raises Usage."""
    modes = [flag for flag in ("announce", "webhook", "no_deliver") if given.get(flag)]
    to = given.get("to")
    if len(modes) > 1:
        raise Usage("give one of --announce, --webhook and --no-deliver")
    if to is not None and modes not in ([], ["announce"]):
        raise Usage("--to goes with --announce; it names the session that hears of the result")
    if to is not None:
        modes = ["announce"]
    made: dict[str, Any] = {"bestEffort": True} if given.get("best_effort") else {}
    match modes:
        case ["announce"]:
            return {"mode": "announce", **made} | ({"to": session_key(to)} if to is not None else {})
        case ["webhook"]:
            return {"mode": "webhook", "to": given["webhook"], **made}
        case ["no_deliver"]:
            return {"mode": "none"}
    if made:
        raise Usage("--best-effort goes with --announce or --webhook")
    return None


PLAIN = {
    "name": "name", "agent": "agentId", "session": "sessionTarget", "description": "description", "wake": "wakeMode",
    "display_name": "displayName", "misfire": "misfire", "misfire_cap": "misfireCap", "overlap": "overlap",
    "delete_after_run": "deleteAfterRun", "enabled": "enabled", "declaration_key": "declarationKey",
}  # fmt: skip
"""Flags whose value travels as it is."""


def fields_of(given: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """Everything that is said of a job. Raises Usage."""
    made = {shown: given[flag] for flag, shown in PLAIN.items() if given.get(flag) is not None}
    if given.get("session_key") is not None:
        made["sessionKey"] = session_key(given["session_key"])
    if given.get("alert_after") is not None:
        made["failureAlert"] = {"after": given["alert_after"]}
    parts = {"schedule": schedule_of(given, now_ms), "payload": payload_of(given), "delivery": delivery_of(given)}
    return made | {name: part for name, part in parts.items() if part is not None}
