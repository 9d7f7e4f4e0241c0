"""Jobs that run by the clock, for operators: see them, make, change and run them; and waking a session."""

from __future__ import annotations

from typing import Any

from gateway.protocol.calls.cron import (
    CronAdd,
    CronList,
    CronRun,
    CronRuns,
    CronStatus,
    CronUpdate,
    JobPage,
    OneJob,
    RunPage,
    Wake,
)
from gateway.protocol.errors import invalid
from gateway.router import Call, Handler


async def cron_status(call: Call) -> CronStatus:
    return await call.services.cron.status()


async def cron_list(call: Call) -> JobPage:
    params: CronList = call.params
    return await call.services.cron.list(params)


async def cron_get(call: Call) -> dict[str, Any]:
    return await call.services.cron.get(_job_id(call.params))


async def cron_add(call: Call) -> dict[str, Any]:
    params: CronAdd = call.params
    return await call.services.cron.add(params)


async def cron_update(call: Call) -> dict[str, Any]:
    params: CronUpdate = call.params
    return await call.services.cron.update(_job_id(params), params.patch, params.expected_config_revision)


async def cron_remove(call: Call) -> dict[str, Any]:
    return await call.services.cron.remove(_job_id(call.params))


async def cron_run(call: Call) -> dict[str, Any]:
    params: CronRun = call.params
    expected, instance = params.expected_process_instance_id, str(call.services.info.epoch)
    if expected is not None and expected != instance:
        raise invalid(
            f'this is another gateway process ({instance}) than the one expected ("{expected[:64]}"); nothing was run',
            code="CRON_PROCESS_INSTANCE_CHANGED", processInstanceId=instance,
        )  # fmt: skip
    return await call.services.cron.run(_job_id(params), params.mode)


async def cron_runs(call: Call) -> RunPage:
    params: CronRuns = call.params
    if params.id is not None or params.job_id is not None:
        _job_id(params)
    return await call.services.cron.entries(params)


async def wake(call: Call) -> dict[str, Any]:
    params: Wake = call.params
    return await call.services.cron.wake(params.mode, params.text, params.session_key, params.agent_id)


def _job_id(params: OneJob) -> str:
    """The one of the two spellings that was used."""
    given = [text for text in (params.id, params.job_id) if text is not None]
    if len(given) != 1:
        raise invalid("name the job once: id, or jobId")
    return given[0]


HANDLERS: dict[str, Handler] = {
    "cron.status": cron_status,
    "cron.list": cron_list,
    "cron.get": cron_get,
    "cron.add": cron_add,
    "cron.update": cron_update,
    "cron.remove": cron_remove,
    "cron.run": cron_run,
    "cron.runs": cron_runs,
    "wake": wake,
}
