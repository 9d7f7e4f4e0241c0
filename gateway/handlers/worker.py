"""What a ticketed worker calls: take a run, report, finish."""

from __future__ import annotations

from typing import Any

from gateway.protocol.calls.worker import (
    Assignment,
    WorkerEffect,
    WorkerEmit,
    WorkerFinish,
    WorkerNext,
    WorkerState,
    WorkerSteering,
)
from gateway.router import Call, Handler
from gateway.services.workers import Seat


def _seat(call: Call) -> Seat:
    return call.services.workers.attach(call.connection, call.principal)


async def worker_next(call: Call) -> Assignment:
    params: WorkerNext = call.params
    return await call.services.leases.next_for(_seat(call), params.holding, params.attempt)


async def worker_emit(call: Call) -> dict[str, Any]:
    params: WorkerEmit = call.params
    return await call.services.leases.emit(_seat(call), params)


async def worker_finish(call: Call) -> dict[str, Any]:
    params: WorkerFinish = call.params
    return await call.services.leases.finish(_seat(call), params)


async def worker_steering(call: Call) -> dict[str, Any]:
    params: WorkerSteering = call.params
    return await call.services.leases.steering(_seat(call), params.run_id, open=params.open)


async def worker_effect(call: Call) -> dict[str, Any]:
    params: WorkerEffect = call.params
    return await call.services.leases.effect(_seat(call), params)


async def worker_state(call: Call) -> dict[str, Any]:
    params: WorkerState = call.params
    return await call.services.leases.keep_state(_seat(call), params.run_id, params.state)


HANDLERS: dict[str, Handler] = {
    "worker.next": worker_next,
    "worker.emit": worker_emit,
    "worker.finish": worker_finish,
    "worker.steering": worker_steering,
    "worker.effect": worker_effect,
    "worker.state": worker_state,
}
