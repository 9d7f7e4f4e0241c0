"""What a program prints, said while it prints it, so that it is seen at once and kept when the turn is cut short.

Owns the pace, and what is said of bytes: whole characters, no newlines before the first or after the last other one. So
what was said is at every moment the beginning of what `reply_of` makes of the whole output. How much a program may
print is bounded where it is read; what is said waits in the turn's outbox, which is bounded too."""

from __future__ import annotations

import codecs

import trio

from agentproc.context import Context

PACE_SECONDS = 0.25
"""From the first byte that is not said until it is. A program that is done by then says nothing: its reply does."""


def reply_of(output: bytes | bytearray) -> str:
    """All of an output as text: what is no UTF-8 is written as escapes, newlines around it are left out."""
    return output.decode(errors="backslashreplace").strip("\n")


class Speech:
    """What one program has printed so far. `flush` says at once what waits, however the program ended."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._heard = trio.Event()
        self._fresh = bytearray()
        self._held = ""
        self._begun = False

    def hear(self, chunk: bytes) -> None:
        """It printed more. Never waits."""
        self._fresh += chunk
        self._heard.set()

    async def serve(self) -> None:
        """Say what is heard, at the pace; runs beside the reading."""
        while True:
            await self._heard.wait()
            await trio.sleep(PACE_SECONDS)
            self._heard = trio.Event()
            await self.say()

    async def flush(self) -> None:
        """Nothing more will be heard: say the rest. Never waits, so a cancelled turn can do it."""
        await self.say(final=True)

    async def say(self, *, final: bool = False) -> None:
        """Say what is heard, but for the beginning of a character and newlines nothing has followed yet. Never
        waits."""
        text = self._held + self._decoder.decode(bytes(self._fresh), final)
        self._fresh.clear()
        text = text if self._begun else text.lstrip("\n")
        words = text.rstrip("\n")
        self._held = text[len(words) :]
        if words:
            self._begun = True
            await self._ctx.say(words)
