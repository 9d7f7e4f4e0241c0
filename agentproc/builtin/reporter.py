"""The agent that gets a table of files and answers with totals and duplicates; the other half of `survey`."""

from __future__ import annotations

import json

from agentproc.builtin.totals import summarise
from agentproc.context import NO_REPLY, Context


async def turn(ctx: Context) -> str | None:
    """Answer `{"task": "totals", "rows": [...]}` with `{"totals", "duplicates"}` as JSON; say what is expected to
    anything else."""
    if ctx.announce:
        return NO_REPLY
    try:
        table = json.loads(ctx.message)
        return json.dumps(summarise(table["rows"]))
    except (ValueError, KeyError, TypeError) as error:
        row = "[path, language, lines, words, bytes, sha256]"
        return (
            f'I add up tables of files: send {{"task": "totals", "rows": [{row}, …]}} as JSON. '
            f"This was none ({type(error).__name__}: {error})."
        )
