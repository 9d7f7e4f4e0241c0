"""Checks of the running system: is there one, does it answer, does it know us, is it ours."""

from __future__ import annotations

import time
from collections.abc import Iterator

from supervisor.cli.asking import open_client
from supervisor.cli.checks.base import FAIL, OK, WARN, Check
from supervisor.cli.errors import CliError, NotAllowed, NotRunning, Unanswered
from supervisor.cli.invocation import Invocation
from supervisor.cli.snapshot import gateway_words, read_status
from supervisor.cli.version import own_version

SLOW_SECONDS = 0.1


def checks(run: Invocation) -> Iterator[Check]:
    """All of them; one line when nothing runs."""
    begun = time.monotonic()
    try:
        with open_client(run.doors) as client:
            took = time.monotonic() - begun
            yield _answer(took, client.principal)
            told = client.call("health", timeout=2.0)
    except Unanswered as error:
        yield Check(
            "running system",
            FAIL,
            f"{error.message}: {words}" if (words := gateway_words(run.doors)) else error.message,
            "peergate logs; peergate ps; the supervisor restarts a hung gateway by itself",
        )
        return
    except NotRunning as error:
        yield Check("running system", OK, f"none ({error.message})")
        return
    except NotAllowed as error:
        yield Check("running system", WARN, error.message, error.fix or "")
        return
    except CliError as error:
        yield Check("running system", FAIL, error.message, error.fix or "peergate logs")
        return
    yield from _health(told, run)


def _answer(took: float, principal: dict[str, object]) -> Check:
    who = principal.get("kind") or "an unnamed caller"
    found = f"answered in {took * 1000:.0f} ms and knows this as {who} (uid {principal.get('uid')})"
    return Check(
        "running system",
        OK if took < SLOW_SECONDS else WARN,
        found,
        "the machine is busy, or the gateway is: peergate ps",
    )


def _health(told: dict[str, object], run: Invocation) -> Iterator[Check]:
    running, ours = str(told.get("version")), own_version()
    if running != ours:
        yield Check(
            "version",
            WARN,
            f"{running} runs, {ours} is installed",
            "peergate stop && peergate up, or SIGUSR2 to the supervisor",
        )
    if not told.get("ok"):
        database = told.get("database")
        trouble = database.get("trouble") if isinstance(database, dict) else None
        yield Check("health", FAIL, str(trouble or "the gateway says it is not well"), "peergate status")
    agents = told.get("agents")
    for agent in [each for each in agents if each.get("quarantined")] if isinstance(agents, list) else []:
        name = agent.get("id")
        why = agent.get("held") or f"agent {name} is in quarantine"
        yield Check("quarantine", WARN, str(why), f"peergate logs; peergate agents release {name}")
    if read_status(run.running_dir) is None:
        yield Check(
            "status file", WARN, f"none in {run.running_dir}", "without it nothing can be said while a gateway is dead"
        )
