"""Jobs that stand in the configuration (`cron.jobs`), held to the rules of every job before anything starts.

Whether the time of a job that runs once is over is not asked: it was not when the job was written, and a start is not
to fail because a clock went on."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.problem import Problem, did_you_mean, shown
from gateway.config.settings import Settings
from gateway.protocol.errors import Refusal
from gateway.schedules.facts import Facts
from gateway.schedules.job import make_job
from gateway.schedules.zones import Zones


def job_problems(settings: Settings) -> Iterator[Problem]:
    """What keeps a job from being one. Reads the files of the time zones that are named."""
    agents = settings.agents.entries
    facts = Facts(0, settings.default_agent, agents, Zones().get)
    for name, wish in settings.cron.jobs.items():
        path = f"cron.jobs.{name}"
        agent = (wish.agent_id or settings.default_agent).strip().lower()
        if agent not in agents:
            path, known = f"{path}.agentId", ", ".join(sorted(agents))
            yield Problem(path, shown(agent, path), f"one of {known}", did_you_mean(agent, agents))
            continue
        try:
            make_job(wish, name, facts)
        except Refusal as refusal:
            yield Problem(path, f"a job that cannot be: {refusal.shape.message}", "a job as docs/cron.md describes it")
