"""When to start, restart, stop and give up on one unit: the gateway, the zygote. Pure.

Owns: the life of a unit. `step` is the only way a unit changes; time and jitter are arguments, seconds on a clock that
never jumps. What is *wanted* (`Unit.wanted`) is apart from what *is* (`Unit.phase`). Whoever carries the actions out
must feed back what happened: SPAWN is answered by SPAWNED or, when nothing came to life, by EXITED; a live child ends
in exactly one EXITED; DUE is fed when `Unit.due` has come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import assert_never

EX_CONFIG = 78


class Phase(Enum):
    """What a unit is."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    KILLING = "killing"
    BACKOFF = "backoff"
    FAILED = "failed"


class Event(Enum):
    """What happened."""

    WANT_UP = "want up"
    WANT_DOWN = "want down"
    KILL_NOW = "kill now"
    SPAWNED = "spawned"
    WAITING = "waiting"
    READY = "ready"
    DUE = "due"
    EXITED = "exited"


class Action(Enum):
    """What to do now."""

    SPAWN = "spawn"
    TERM = "term"
    KILL = "kill"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient we are, in seconds."""

    start_timeout: float = 20.0
    stop_grace: float = 2.0
    kill_again: float = 1.0
    quick_after: float = 0.25
    quick_times: int = 20
    forget_after: float = 60.0
    first_delay: float = 0.1
    longest_delay: float = 5.0


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit. `alive` is whether a child exists that may be signalled; `since` when the phase was entered; `due` when
    DUE is to be fed; `deaths` how many deaths in a row the next delay is reckoned from; `starts` how often it was
    spawned."""

    phase: Phase = Phase.STOPPED
    wanted: bool = False
    alive: bool = False
    since: float = 0.0
    due: float | None = None
    deaths: int = 0
    starts: int = 0


Step = tuple[Unit, tuple[Action, ...]]


def next_delay(deaths: int, ready_for: float, jitter: float, policy: Policy) -> float:
    """Seconds to wait after a death: none when it had been ready for a moment, for then it does not die of starting
    (s6-supervise has the same rule, with one second), and this is not one of very many in a row; else doubled with
    each, within 0.8 to 1.2 by `jitter` (0 to 1)."""
    if ready_for >= policy.quick_after and deaths < policy.quick_times:
        return 0.0
    doubled = min(policy.longest_delay, policy.first_delay * 2.0 ** min(deaths, 32))
    return doubled * (0.8 + 0.4 * jitter)


def _enter(unit: Unit, phase: Phase, now: float, due: float | None = None) -> Unit:
    return replace(unit, phase=phase, since=now, due=due)


def _spawn(unit: Unit, now: float, policy: Policy) -> Step:
    started = replace(unit, wanted=True, alive=False, starts=unit.starts + 1)
    return _enter(started, Phase.STARTING, now, now + policy.start_timeout), (Action.SPAWN,)


def _kill(unit: Unit, now: float, policy: Policy) -> Step:
    """Kill what is alive, again and again: a process in the kernel's hands dies when it comes back."""
    killing = _enter(unit, Phase.KILLING, now, now + policy.kill_again)
    return killing, (Action.KILL,) if unit.alive else ()


def _stop(unit: Unit, now: float, policy: Policy) -> Step:
    stopping = _enter(replace(unit, wanted=False), Phase.STOPPING, now, now + policy.stop_grace)
    return stopping, (Action.TERM,) if unit.alive else ()


@dataclass(frozen=True, slots=True)
class _Death:
    """How a child ended, and when: it may be a while until its death is told."""

    code: int | None
    at: float
    jitter: float


def _died(unit: Unit, death: _Death, now: float, policy: Policy) -> Step:
    """A child that was wanted is gone."""
    dead = replace(unit, alive=False)
    if death.code == EX_CONFIG:
        return _enter(replace(dead, wanted=False), Phase.FAILED, now), (Action.GIVE_UP,)
    ready_for = death.at - unit.since if unit.phase is Phase.READY else 0.0
    deaths = 0 if ready_for >= policy.forget_after else unit.deaths
    delay = next_delay(deaths, ready_for, death.jitter, policy)
    counted = replace(dead, deaths=deaths + 1)
    if delay == 0.0:
        return _spawn(counted, now, policy)
    return _enter(counted, Phase.BACKOFF, now, now + delay), ()


def _exited(unit: Unit, death: _Death, now: float, policy: Policy) -> Step:
    match unit.phase:
        case Phase.STARTING | Phase.READY:
            return _died(unit, death, now, policy)
        case Phase.KILLING if unit.wanted:
            return _died(unit, death, now, policy)
        case Phase.STOPPING if unit.wanted:
            return _spawn(unit, now, policy)
        case Phase.STOPPING | Phase.KILLING:
            return _enter(replace(unit, alive=False), Phase.STOPPED, now), ()
        case Phase.STOPPED | Phase.BACKOFF | Phase.FAILED:
            return unit, ()
    assert_never(unit.phase)


def _want_up(unit: Unit, now: float, policy: Policy) -> Step:
    if unit.phase in (Phase.STOPPED, Phase.FAILED):
        return _spawn(replace(unit, deaths=0), now, policy)
    return replace(unit, wanted=True), ()


def _want_down(unit: Unit, now: float, policy: Policy) -> Step:
    match unit.phase:
        case Phase.STARTING | Phase.READY:
            return _stop(unit, now, policy)
        case Phase.BACKOFF:
            return _enter(replace(unit, wanted=False), Phase.STOPPED, now), ()
        case Phase.STOPPED | Phase.STOPPING | Phase.KILLING | Phase.FAILED:
            return replace(unit, wanted=False), ()
    assert_never(unit.phase)


def _kill_now(unit: Unit, now: float, policy: Policy) -> Step:
    if unit.phase in (Phase.STARTING, Phase.READY, Phase.STOPPING, Phase.KILLING):
        return _kill(replace(unit, wanted=False), now, policy)
    return _want_down(unit, now, policy)


def _spawned(unit: Unit) -> Step:
    """A child that came to life after its stop was asked for hears it now."""
    living = replace(unit, alive=True)
    match unit.phase:
        case Phase.STOPPING:
            return living, (Action.TERM,)
        case Phase.KILLING:
            return living, (Action.KILL,)
        case Phase.STARTING:
            return living, ()
        case Phase.STOPPED | Phase.READY | Phase.BACKOFF | Phase.FAILED:
            return unit, ()
    assert_never(unit.phase)


def _due(unit: Unit, now: float, policy: Policy) -> Step:
    match unit.phase:
        case Phase.STARTING | Phase.STOPPING | Phase.KILLING:
            return _kill(unit, now, policy)
        case Phase.BACKOFF:
            return _spawn(unit, now, policy)
        case Phase.STOPPED | Phase.READY | Phase.FAILED:
            return replace(unit, due=None), ()
    assert_never(unit.phase)


def step(
    unit: Unit, event: Event, now: float, policy: Policy, *, code: int | None = None, died: float | None = None,
    jitter: float = 0.5,
) -> Step:  # fmt: skip
    """What `event` makes of `unit`, and what to do about it, in order. `code` is the exit code that came with EXITED
    (None: a signal, or it never came to life) and `died` when that was (None: now); `jitter` is a fresh random number
    from 0 to 1. A DUE that comes early changes nothing."""
    match event:
        case Event.WANT_UP:
            return _want_up(unit, now, policy)
        case Event.WANT_DOWN:
            return _want_down(unit, now, policy)
        case Event.KILL_NOW:
            return _kill_now(unit, now, policy)
        case Event.SPAWNED:
            return _spawned(unit)
        case Event.WAITING:
            # It says why it is not ready yet, so it does not hang: a full disk is no reason to kill who waits for room.
            waits = unit.phase is Phase.STARTING and unit.alive
            return (replace(unit, due=now + policy.start_timeout) if waits else unit), ()
        case Event.READY:
            return (_enter(unit, Phase.READY, now), ()) if unit.phase is Phase.STARTING and unit.alive else (unit, ())
        case Event.DUE:
            return (unit, ()) if unit.due is None or now < unit.due else _due(unit, now, policy)
        case Event.EXITED:
            return _exited(unit, _Death(code, now if died is None else died, jitter), now, policy)
    assert_never(event)
