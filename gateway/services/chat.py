"""What a run says while it says it: deltas at a pace that clients can draw, and the end of the answer.

Owns the text each run has said so far and when listeners were told of it last. The events are OpenClaw's (2026.9.6):
`agent` with the stream assistant, and `chat` with the states delta, final, aborted and error. A version 3 client reads
the whole text (`message`), a version 4 client the new part (`deltaText`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import trio

from gateway.services.announce import SILENT
from gateway.services.board import Active
from gateway.services.run_state import State
from gateway.services.timers import Timers
from gateway.store.runs import RunRecord

PACE_SECONDS = 0.075
"""The least time between two deltas of one run."""
MAX_SNAPSHOT_CHARS = 128 * 1024
"""Of a text that is told as a whole with every delta; of a longer one only what is new."""

Tell = Callable[[str, Active, dict[str, Any]], None]
"""Publishes an event of a run: its name, whose it is, and what it says."""


class _Speech(msgspec.Struct, eq=False):
    """What one run has said. `fresh` is not told yet. `anew`: what was told before is not part of it (another
    attempt). `whole` is None once it is too long to be kept."""

    run: Active
    whole: str | None = ""
    fresh: str = ""
    anew: bool = False
    told_at: float = float("-inf")

    def add(self, text: str) -> None:
        if self.whole is not None:
            longer = len(self.whole) + len(text)
            self.whole = self.whole + text if longer <= MAX_SNAPSHOT_CHARS else None
        self.fresh += text


class Chat:
    """The speeches of the runs in progress. `tell` publishes; `clock` gives wall milliseconds."""

    def __init__(self, tell: Tell, timers: Timers, clock: Callable[[], float]) -> None:
        self._tell = tell
        self._timers = timers
        self._clock = clock
        self._speeches: dict[str, _Speech] = {}
        self._waiting: dict[str, _Speech] = {}

    def begin(self, run: Active) -> None:
        """A new attempt begins: what an earlier one said does not count any more."""
        if run.id in self._speeches:
            self._waiting.pop(run.id, None)
            self._speeches[run.id] = _Speech(run, anew=True)

    def say(self, run: Active, text: str) -> None:
        """The run says more; told now, or when its time has come."""
        speech = self._speeches.get(run.id)
        if speech is None:
            speech = self._speeches[run.id] = _Speech(run)
        speech.add(text)
        if trio.current_time() - speech.told_at >= PACE_SECONDS:
            self._tell_fresh(speech)
        elif run.id not in self._waiting:
            if not self._waiting:
                self._timers.set("chat", PACE_SECONDS, self._tell_waiting)
            self._waiting[run.id] = speech

    def flush(self, run_id: str) -> None:
        """Tell what is not told yet, so that what follows stands behind it."""
        if speech := self._waiting.pop(run_id, None):
            self._tell_fresh(speech)

    def end(self, run: Active, record: RunRecord) -> None:
        """The run is over: exactly one of final, aborted and error is told of it."""
        self._speeches.pop(run.id, None)
        self._tell("chat", run, _ending(record, self._clock()))

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for speech in waiting.values():
            self._tell_fresh(speech)

    def _tell_fresh(self, speech: _Speech) -> None:
        fresh, speech.fresh, speech.told_at = speech.fresh, "", trio.current_time()
        said: dict[str, Any] = {"delta": fresh}
        chat: dict[str, Any] = {"state": "delta", "deltaText": fresh}
        if speech.whole is not None:
            said["text"] = speech.whole
            chat["message"] = message_of(speech.whole, self._clock())
        if speech.anew:
            said["replace"] = chat["replace"] = True
            speech.anew = False
        self._tell("agent", speech.run, {"stream": "assistant", "data": said})
        self._tell("chat", speech.run, chat)


def message_of(text: str, now: float) -> dict[str, Any]:
    """A text as an assistant's message."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}], "timestamp": round(now)}


def _ending(record: RunRecord, now: float) -> dict[str, Any]:
    text = (record.text or "").strip()
    message = {"message": message_of(record.text or "", now)} if text and text not in SILENT else {}
    if record.state == State.DONE:
        return {"state": "final", "stopReason": record.stop_reason or "stop", **message}
    reason = {"stopReason": record.stop_reason or str(record.state)}
    if record.state == State.ABORTED:
        return {"state": "aborted", "errorMessage": record.error or "aborted", **reason, **message}
    kind = "timeout" if record.state == State.TIMED_OUT else "unknown"
    said = record.error or f"the run ended as {record.state}"
    return {"state": "error", "errorMessage": said, "errorKind": kind, **reason, **message}
