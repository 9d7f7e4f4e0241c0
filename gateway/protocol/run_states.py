"""The words for where a run is, for whoever names one: a call, or the command line, which loads nothing else of it."""

from __future__ import annotations

from typing import Literal

RunState = Literal["queued", "starting", "running", "waiting", "done", "failed", "timed_out", "aborted", "interrupted"]
