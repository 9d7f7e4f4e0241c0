"""`docs/protocol.md`, made from the rows and the events. Owns its text; a test compares the page with it.

`python -m gateway.protocol.describe > docs/protocol.md` writes it anew."""

from __future__ import annotations

import inspect
import typing

import msgspec

from gateway.protocol import calls, events, limits
from gateway.protocol.calls import agents, chat, cron, database, devices, mailbox, runs, sessions, system, tools, worker
from gateway.protocol.calls.row import ABSENT, Count, Nothing, Params, Row

_FAMILIES = (
    ("System", system),
    ("Database", database),
    ("Agents", agents),
    ("Sessions", sessions),
    ("Conversations", chat),
    ("Runs", runs),
    ("Mailbox", mailbox),
    ("Cron", cron),
    ("Tools", tools),
    ("Workers", worker),
    ("Devices", devices),
)

_HEAD = f"""# Protocol

Made from the rows in `gateway/protocol/calls` by `python -m gateway.protocol.describe`; do not edit by hand.

On a Unix door a frame is four bytes of length, big-endian, and one msgpack map:
`{{type:"req", id, method, params?}}`, `{{type:"res", id, ok, payload?, error?}}` or
`{{type:"event", event, payload, seq?, stateVersion?}}`. The first call is `connect`; calls may be sent behind it
without waiting. `seq` counts the broadcasts of one connection from 1.
Errors: `{{code, message, details?, retryable?, retryAfterMs?}}`; codes: INVALID_REQUEST, FORBIDDEN, NOT_PAIRED,
UNAVAILABLE.
Protocol versions {limits.OLDEST_PROTOCOL} and {limits.PROTOCOL_VERSION} are accepted.

| limit | bytes |
|---|---|
| a frame before `connect` is answered | {limits.MAX_HELLO_BYTES:,} |
| a frame of a worker or tool | {limits.MAX_WORKER_PAYLOAD_BYTES:,} |
| a frame of an operator | {limits.MAX_PAYLOAD_BYTES:,} |
| parameters of one call | {limits.MAX_ROW_BYTES:,} |
| unread by a slow peer, before it is closed | {limits.MAX_BUFFERED_BYTES:,} |

Scopes: `public` everybody who was let in; `operator.read`, implied by `operator.write`; `operator.admin` everything an
operator may; `session` a worker and its tools, as their own session; `worker` the ticketed connection of a worker.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, family in _FAMILIES:
        parts.append(f"\n## {title}\n")
        parts += [_method(row) for row in family.ROWS]
    parts.append("\n## Session tools\n\nUsed through `tools.invoke {name, args, idempotencyKey?}`.\n")
    parts += [_tool(tool) for tool in tools.TOOLS]
    parts.append("\n## Events\n\n| event | who may hear it |\n|---|---|\n")
    parts.append("".join(f"| `{name}` | `{scope}` |\n" for name, scope in events.EVENT_SCOPES.items()))
    parts.append(f"\n{_tail(inspect.getdoc(events) or '')}\n")
    return "".join(parts)


def _tail(doc: str) -> str:
    return doc.split("\n\n", 1)[1] if "\n\n" in doc else ""


def _method(row: Row) -> str:
    scope = f"`{row.scope}`" + (f" or `{row.or_scope}`" if row.or_scope else "")
    scope += ", more for some parameters" if row.scope_for else ""
    waits = "; may wait" if row.waits else ""
    budget = "; from outside 30 calls in 60 s" if row.budgeted else ""
    return f"\n### {row.name}\n\n{row.summary} Scope {scope}{waits}{budget}.\n{_parameters(row.params)}"


def _tool(tool: tools.Tool) -> str:
    told = f"Operator scope `{tool.scope}`; repeating it is {tool.effect}."
    return f"\n### {tool.name}\n\n{told}\n{_parameters(tool.params)}"


def _parameters(params: type[Params]) -> str:
    fields = msgspec.structs.fields(params)
    if params is Nothing or not fields:
        return "\nNo parameters.\n"
    doc = (params.__doc__ or "").strip()
    told = f"\n{inspect.cleandoc(doc)}\n" if doc and "Struct" not in doc else ""
    live = [field for field in fields if not _is_inert(field)]
    idle = ", ".join(f"`{field.encode_name}`" for field in fields if _is_inert(field))
    rows = "".join(f"| `{field.encode_name}` | {_type(field.type)} | {_default(field)} |\n" for field in live)
    table = f"\n| parameter | type | default |\n|---|---|---|\n{rows}" if live else ""
    return f"{told}{table}" + (f"\nTaken, and nothing is done with: {idle}.\n" if idle else "")


def _is_inert(field: msgspec.structs.FieldInfo) -> bool:
    return field.type is msgspec.Raw and field.default is ABSENT


def _type(kind: object) -> str:
    if kind is msgspec.Raw:
        return "anything"
    if typing.get_origin(kind) is typing.Annotated:
        return _type(typing.get_args(kind)[0]) + (" (0 or more)" if kind is Count else "")
    if typing.get_origin(kind) is typing.Union or type(kind).__name__ == "UnionType":
        return " or ".join(_type(part) for part in typing.get_args(kind) if part is not msgspec.UnsetType)
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{word}`" for word in typing.get_args(kind))
    if (origin := typing.get_origin(kind)) is not None:
        inner = ", ".join(_type(part) for part in typing.get_args(kind) if part is not Ellipsis)
        name = {"tuple": "list"}.get(getattr(origin, "__name__", str(origin)), getattr(origin, "__name__", str(origin)))
        return f"{name} of {inner}"
    if isinstance(kind, type):
        names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "NoneType": "null"}
        return names.get(kind.__name__, kind.__name__)
    return "any" if kind is typing.Any else str(kind)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, msgspec.Raw):
        return "`{}`"
    if value is msgspec.UNSET:
        return "left as it is"
    if isinstance(value, msgspec.Struct):
        return "its defaults"
    return f"`{msgspec.json.encode(value).decode()}`"


if __name__ == "__main__":
    assert calls.ROWS  # rows of one name would have failed here
    print(page(), end="")
