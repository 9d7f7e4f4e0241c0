"""Every method, as everybody who may come in, with parameters made by chance: the answer says what is wrong, and
nothing breaks."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect
import pytest
import trio
import trio.testing

from gateway.auth.principal import Kind, Principal
from gateway.handlers import HANDLERS
from gateway.protocol import scopes
from gateway.protocol.calls import ROWS
from gateway.protocol.calls.tools import BY_NAME
from gateway.protocol.calls.worker import Assignment
from gateway.protocol.frames import JSON, MSGPACK, Codec, Request
from gateway.router import Router
from tests.support.anything import MAIN, Anybody, Chance
from tests.support.calls import worker_principal
from tests.support.engine import Box, Worker, finished_turn, open_box

SEEDS, ROUNDS = 8, 8
ALL = {name: msgspec.inspect.type_info(row.params) for name, row in ROWS.items()}
TOOLS = {name: msgspec.inspect.type_info(tool.params) for name, tool in BY_NAME.items()}


def everybody(worker: Worker) -> list[tuple[str, Principal, Codec]]:
    """One of each sort that may come in."""
    admin, pairing, read, write = scopes.ADMIN, scopes.PAIRING, scopes.READ, scopes.WRITE
    member, session = frozenset({read, write}), frozenset({scopes.SESSION})

    def device(*granted: str, method: str = "device-token", role: str = "operator") -> Principal:
        return Principal(
            Kind.DEVICE, frozenset(granted), "outer:0", -1, -1, 0, device="d" * 64, address="192.0.2.7", role=role,
            method=method, client="cli",
        )  # fmt: skip

    return [
        ("owner", Principal(Kind.OPERATOR, scopes.OPERATOR_SCOPES, "operator", os.geteuid(), 0, 4242), MSGPACK),
        ("member", Principal(Kind.OPERATOR, member, "operator", 1000, 1000, 4243), MSGPACK),
        ("foreign", Principal(Kind.FOREIGN, member, "foreign", 1000, 1000, 0), MSGPACK),
        ("worker", worker_principal(worker.born), MSGPACK),
        ("tool", Principal(Kind.TOOL, session, "agents", 0, 0, 99, 5, "main", MAIN, worker.born.spawn), MSGPACK),
        ("administrator", device(admin, pairing, method="token"), JSON),
        ("approver", device(pairing, read), JSON),
        ("node", device(role="node"), JSON),
        ("open", Principal(Kind.OPEN, frozenset({admin}), "outer:0", -1, -1, 0, method="none", client="x"), JSON),
    ]


def params_of(chance: Chance, method: str, run: Assignment, folder: Path) -> Any:
    """By chance, but so that calls get past the first look now and then, and that no file is written but in
    `folder`."""
    params = chance.value(ALL[method])
    if not isinstance(params, dict):
        return params
    if isinstance(path := params.get("path"), str) and path.startswith("/"):
        params["path"] = f"{folder}/{path.replace('/', '_')}"
    if method == "tools.invoke":
        params["name"] = name = chance.one_of([*TOOLS])
        params["args"] = chance.value(TOOLS[name])
        if chance.often(0.8):
            params.pop("sessionKey", None)
    if method.startswith("worker.") and chance.often(0.8):
        params |= {"runId": run.run_id, "attempt": run.attempt}
    return params


class Storm:
    """All the calls of one seed. `wrong` is what the log says of a fault of ours, with the call before it."""

    def __init__(self, seed: int, box: Box, folder: Path, log: pytest.LogCaptureFixture) -> None:
        self._chances = {codec.name: Chance(seed, codec) for codec in (MSGPACK, JSON)}
        self._router = Router(HANDLERS, box.services, refused=lambda note: None)
        self._folder = folder
        self._log = log
        self.count = 0
        self.wrong: list[object] = []

    async def call(self, peer: Anybody, method: str, run: Assignment) -> None:
        chance = self._chances[peer.codec.name]
        try:
            raw = peer.codec.encode_value(params_of(chance, method, run, self._folder))
        except (TypeError, ValueError, RecursionError):
            return  # it could not even be sent
        self.count += 1
        self._router.dispatch(peer, Request(str(self.count), method, msgspec.Raw(raw)))
        if chance.often(0.3):
            await trio.testing.wait_all_tasks_blocked()
        else:
            await trio.lowlevel.checkpoint()
        for record in self._log.records:
            if record.exc_info or record.levelno >= logging.ERROR:
                self.wrong.append((record.getMessage(), record.exc_info, peer.id, method, raw[:500]))
        self._log.clear()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_is_called_with_is_answered_and_breaks_nothing(seed, tmp_path, autojump_clock, caplog):
    async with open_box(tmp_path, tree={"agents": {"entries": {"main": {}, "other": {}}}}) as box:
        worker = await finished_turn(box, "hello", "hi")
        await box.spawn("kid")
        storm = Storm(seed, box, tmp_path, caplog)
        async with trio.open_nursery() as nursery:
            peers = [Anybody(*one, nursery) for one in everybody(worker)]
            for peer in peers:
                box.listener.join(peer, events=True)
                box.listener.hear_sessions(peer.id, True)
            for number in range(ROUNDS):
                box.services.agents.quarantined("main", False, "")
                await box.send("again", run_id=f"again-{number}")
                run = await worker.next()
                for method in ROWS:
                    for peer in peers:
                        await storm.call(peer, method, run)
                await box.services.runs.abort(session_key=MAIN)
            await box.settle()
            nursery.cancel_scope.cancel()
        assert storm.wrong == []
        errors = [error for peer in peers for told in peer.answers.values() for error in told if error is not None]
        assert [error for error in errors if "internal error" in error.message] == []
        answered = sum(len(peer.answers) for peer in peers)
        assert storm.count > 1000
        assert answered > 0.9 * storm.count  # the others wait
        await box.send("after all", "agent:other:main")
