"""What the supervisor is asked by signal, and the dump of what it is doing.

Owns: what a signal means here. What was caught before Trio ran (`early`) is heard first."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from supervisor.early import HANDLED
from supervisor.logfile import Log


@dataclass(slots=True)
class Asked:
    """What signals have asked so far. The events of reload, upgrade and child are replaced by whoever acts on them."""

    stop: trio.Event = field(default_factory=trio.Event)
    kill: trio.Event = field(default_factory=trio.Event)
    reload: trio.Event = field(default_factory=trio.Event)
    upgrade: trio.Event = field(default_factory=trio.Event)
    child: trio.Event = field(default_factory=trio.Event)

    def hear(self, number: int, log: Log) -> None:
        """Take note of one signal."""
        match number:
            case signal.SIGCHLD:
                self.child.set()
            case signal.SIGQUIT:
                log.warning("tasks:\n" + "\n".join(dump_tasks()))
            case signal.SIGHUP:
                self.reload.set()
            case signal.SIGUSR2:
                self.upgrade.set()
            case _ if self.stop.is_set():
                log.warning(f"{signal.Signals(number).name} again: everything is killed now")
                self.kill.set()
            case _:
                log.info(f"{signal.Signals(number).name}: stopping")
                self.stop.set()


async def serve_signals(asked: Asked, log: Log, early: list[int], *, task_status: trio.TaskStatus[None]) -> None:
    """Take note of every signal, for ever; first of those that came before Trio ran."""
    with trio.open_signal_receiver(*HANDLED) as received:
        for number in early:
            asked.hear(number, log)
        task_status.started()
        async for number in received:
            asked.hear(number, log)


def dump_tasks() -> list[str]:
    """Every Trio task with the line it waits in, indented below its parent."""
    root = trio.lowlevel.current_root_task()
    return list(_dump(root, 0)) if root is not None else []


def _dump(task: trio.lowlevel.Task, depth: int) -> Iterator[str]:
    pad = "  " * depth
    yield f"{pad}- {task.name}"
    frames = [(frame, line) for frame, line in task.iter_await_frames()]
    for summary in traceback.StackSummary.extract(iter(frames))[-3:]:
        yield f"{pad}    {summary.filename}:{summary.lineno} in {summary.name}"
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _dump(child, depth + 1)
