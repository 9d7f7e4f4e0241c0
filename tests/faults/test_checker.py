"""The checker finds what it is there to find: each tampering with good evidence is told, and good evidence is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.checker import Checker
from tests.faults.evidence import Evidence
from tests.faults.workload import Accepted

PARENT, KID, PEER = "agent:p00:main", "agent:k00:subagent:1", "agent:q00:main"


def said(seq: int, role: str, text: str, run: str, **more: Any) -> dict[str, Any]:
    return {"seq": seq, "role": role, "content": [{"type": "text", "text": text}], "runId": run, **more}


def order(name: str, do: str = "plain") -> str:
    return json.dumps({"id": name, "do": do})


def ended(run: str, text: str | None = None, state: str = "done", **more: Any) -> dict[str, Any]:
    return {"runId": run, "state": state, "attempt": 1, "endedAt": 1.0, "text": text, **more}


def line(what: str, session: str, run: str, at: float, **more: Any) -> dict[str, Any]:
    return {"what": what, "session": session, "run": run, "attempt": 1, "pid": 7, "at": at, **more}


TOLD = {"kind": "internal_system", "sourceTool": "sessions_spawn", "childRunId": "child", "status": "ok"}


def good() -> Evidence:
    """Two messages of one sender; the first spawns a child that is announced, and writes a letter."""
    transcripts = {
        PARENT: [
            said(1, "user", order("s0-1", "family"), "r1"),
            said(2, "assistant", "re:s0-1", "r1"),
            said(3, "user", order("s0-2"), "r2"),
            said(4, "assistant", "re:s0-2", "r2"),
            said(5, "user", "Sub-agent finished.", "announce:child", provenance=TOLD),
        ],
        KID: [said(1, "user", order("s0-1/c0"), "child"), said(2, "assistant", "re:s0-1/c0", "child")],
        PEER: [said(1, "user", order("s0-1/p0"), "letter"), said(2, "assistant", "re:s0-1/p0", "letter")],
    }
    lines = [
        line("begin", PARENT, "r1", 1.0, id="s0-1"),
        line("spawned", PARENT, "r1", 2.0, child="child", key=KID, id="s0-1/c0", announces=True),
        line("sent", PARENT, "r1", 3.0, id="s0-1/p0", peer="q00", status="ok", to="letter", reply="re:s0-1/p0"),
        line("reply", PARENT, "r1", 4.0, id="s0-1", reply="re:s0-1"),
        line("reply", PARENT, "r2", 5.0, id="s0-2", reply="re:s0-2"),
        line("reply", KID, "child", 5.0, id="s0-1/c0", reply="re:s0-1/c0"),
        line("reply", PEER, "letter", 5.0, id="s0-1/p0", reply="re:s0-1/p0"),
        line("heard", PARENT, "announce:child", 6.0, child="child", status="ok", result="re:s0-1/c0"),
    ]
    runs = [
        ended("r1", "re:s0-1"), ended("r2", "re:s0-2"), ended("child", "re:s0-1/c0"), ended("letter", "re:s0-1/p0"),
        ended("announce:child"),
    ]  # fmt: skip
    return Evidence(
        accepted=[Accepted(f"s0-{n}", "s0", n, PARENT, f"r{n}", True, float(n)) for n in (1, 2)],
        outcomes={f"r{n}": {"state": "done", "reply": f"re:s0-{n}"} for n in (1, 2)},
        transcripts=transcripts,
        runs={run["runId"]: run for run in runs},
        states={PARENT: {"heard": {"child": "re:s0-1/c0"}}},
        lines=lines,
    )


def renumber(messages: list[dict[str, Any]]) -> None:
    for number, message in enumerate(messages, 1):
        message["seq"] = number


def lose_a_message(evidence: Evidence) -> None:
    del evidence.transcripts[PARENT][2]
    renumber(evidence.transcripts[PARENT])


def double_a_message(evidence: Evidence) -> None:
    evidence.transcripts[PARENT].append(copy.deepcopy(evidence.transcripts[PARENT][0]))
    renumber(evidence.transcripts[PARENT])


def swap_two_messages(evidence: Evidence) -> None:
    messages = evidence.transcripts[PARENT]
    messages[0], messages[2] = messages[2], messages[0]
    renumber(messages)


def skip_a_number(evidence: Evidence) -> None:
    evidence.transcripts[PARENT][4]["seq"] = 6


def announce_twice(evidence: Evidence) -> None:
    evidence.transcripts[PARENT].append(copy.deepcopy(evidence.transcripts[PARENT][4]))
    renumber(evidence.transcripts[PARENT])


def never_announce(evidence: Evidence) -> None:
    del evidence.transcripts[PARENT][4]


def announce_what_was_taken(evidence: Evidence) -> None:
    evidence.lines.append(line("waited", PARENT, "r1", 3.5, child="child", status="ok", result="re:s0-1/c0"))


def forget_what_was_told(evidence: Evidence) -> None:
    evidence.states[PARENT]["heard"].clear()


def mix_up_a_result(evidence: Evidence) -> None:
    evidence.states[PARENT]["heard"]["child"] = "re:another"


def start_a_child_twice(evidence: Evidence) -> None:
    evidence.lines.append(line("spawned", PARENT, "r1", 2.5, child="twin", key=KID, id="s0-1/c0", announces=True))


def lose_a_letter(evidence: Evidence) -> None:
    evidence.transcripts[PEER].clear()


def answer_another_letter(evidence: Evidence) -> None:
    evidence.lines[2]["reply"] = "re:another"


def answer_out_of_turn(evidence: Evidence) -> None:
    evidence.lines[3]["at"] = 9.0


def take_two_turns_at_once(evidence: Evidence) -> None:
    evidence.lines.append(line("overlap", PARENT, "r2", 4.5))


def carry_an_attempt_out_twice(evidence: Evidence) -> None:
    evidence.lines.append(line("begin", PARENT, "r1", 4.5, id="s0-1") | {"pid": 8})


def try_a_fourth_time(evidence: Evidence) -> None:
    evidence.lines.append(line("begin", PARENT, "r1", 4.5, id="s0-1") | {"attempt": 4})


def answer_wrongly(evidence: Evidence) -> None:
    evidence.outcomes["r2"]["reply"] = "re:s0-1"


def never_end(evidence: Evidence) -> None:
    evidence.runs["r2"] |= {"endedAt": None, "state": "running"}


def fail_for_no_allowed_reason(evidence: Evidence) -> None:
    evidence.runs["r2"] |= {"state": "interrupted", "error": "its worker died; that was attempt 2 of 3"}


def bring_in_a_stranger(evidence: Evidence) -> None:
    evidence.transcripts[PEER].append(said(3, "user", order("nobody-1"), "r9"))


TAMPERINGS = [
    lose_a_message, double_a_message, swap_two_messages, skip_a_number, announce_twice, never_announce,
    announce_what_was_taken, forget_what_was_told, mix_up_a_result, start_a_child_twice, lose_a_letter,
    answer_another_letter, answer_out_of_turn, take_two_turns_at_once, carry_an_attempt_out_twice, try_a_fourth_time,
    answer_wrongly,
    never_end, fail_for_no_allowed_reason, bring_in_a_stranger,
]  # fmt: skip


def test_good_evidence_is_good():
    checker = Checker(good()).run()
    assert checker.violations == []
    assert checker.checks > 30


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_each_tampering_is_found(tamper: Callable[[Evidence], None]):
    evidence = good()
    tamper(evidence)
    assert Checker(evidence).run().violations != []


def test_three_lost_workers_are_an_end_the_promise_allows():
    evidence = good()
    evidence.runs["r2"] |= {"state": "interrupted", "error": "its worker died; that was attempt 3 of 3", "text": None}
    evidence.outcomes["r2"] = {"state": "interrupted", "reply": None}
    assert Checker(evidence).run().violations == []


def test_asking_by_name_for_what_was_announced_is_answered():
    evidence = good()
    evidence.lines.append(line("waited", PARENT, "r2", 7.0, child="child", status="ok", result="re:s0-1/c0"))
    assert Checker(evidence).run().violations == []
