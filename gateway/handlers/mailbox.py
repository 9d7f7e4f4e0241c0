"""Messages nobody is through with, for operators."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol.calls.mailbox import MailboxList, MailRow, OneMessage
from gateway.router import Call, Handler


def mailbox_list(call: Call) -> dict[str, Any]:
    params: MailboxList = call.params
    session = params.session_key.strip().lower() if params.session_key is not None else None
    found = call.services.mailbox.list(
        name=params.id, state=params.state, session=session, after=params.after, limit=params.limit
    )
    return {**found, "messages": [msgspec.convert(row, MailRow) for row in found["messages"]]}


async def mailbox_retry(call: Call) -> MailRow:
    params: OneMessage = call.params
    return msgspec.convert(await call.services.mailbox.retry(params.id), MailRow)


async def mailbox_drop(call: Call) -> MailRow:
    params: OneMessage = call.params
    return msgspec.convert(await call.services.mailbox.drop(params.id), MailRow)


HANDLERS: dict[str, Handler] = {
    "mailbox.list": mailbox_list,
    "mailbox.retry": mailbox_retry,
    "mailbox.drop": mailbox_drop,
}
