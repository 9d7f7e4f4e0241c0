"""`peergate cron` and `wake`: what they ask for, and what a person reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.supervisor.cli.support import Shell, answering, tools
from tests.support.fake_door import FakeDoor, Handler, No

ID, OTHER = "5d0c1f22-0000-4000-8000-000000000001", "5d0c9999-0000-4000-8000-000000000002"
DUE = 4_102_444_800_000  # 2100-01-01, whenever this runs
JOB: dict[str, Any] = {
    "id": ID, "name": "report", "enabled": True, "agentId": "scout", "sessionTarget": "isolated", "wakeMode": "now",
    "schedule": {"kind": "cron", "expr": "0 9 * * 1-5", "tz": "Europe/Berlin", "staggerMs": 0},
    "payload": {"kind": "agentTurn", "message": "write it"}, "delivery": {"mode": "none"}, "misfire": "run-once",
    "overlap": "skip", "state": {"nextRunAtMs": DUE}, "nextRunAtMs": DUE, "lastRunAtMs": 1000, "lastRunStatus": "error",
    "lastRunError": "no paper",
}  # fmt: skip
ENTRY: dict[str, Any] = {
    "ts": 2000, "jobId": ID, "jobName": "report", "action": "finished", "slotMs": 1000, "status": "ok",
    "summary": "written", "durationMs": 1500, "deliveryStatus": "not-requested", "runId": "r1",
}  # fmt: skip


def page(*jobs: dict[str, Any], more: int | None = None) -> dict[str, Any]:
    return {"jobs": list(jobs), "total": 9, "hasMore": more is not None, "nextOffset": more}


def changing(params: dict[str, Any]) -> dict[str, Any]:
    return {**JOB, **params["patch"]}


HANDLERS: dict[str, Handler] = {
    "cron.list": answering(page(JOB)),
    "cron.get": answering(JOB),
    "cron.add": lambda params: {**JOB, "name": params["name"]},
    "cron.update": changing,
    "cron.remove": answering({"ok": True, "removed": True}),
    "cron.run": answering({"ok": True, "enqueued": True, "runId": "r1", "processInstanceId": "1"}),
    "cron.runs": answering({"entries": [ENTRY], "total": 1, "hasMore": False, "nextOffset": None}),
    "cron.status": answering({"enabled": True, "jobs": 3, "nextWakeAtMs": DUE}),
    "wake": answering({"ok": True}),
}
Door = Callable[..., FakeDoor]


@pytest.fixture
def door(peergate: Shell) -> Door:
    return lambda **others: FakeDoor(peergate.runtime, HANDLERS | {n.replace("_", "."): h for n, h in others.items()})


def test_a_job_is_made_of_its_flags_and_explained(peergate: Shell, door: Door):
    with door() as one:
        told = peergate("cron", "add", "--name", "mail", "--every", "10m", "--message", "look", "--agent", "scout")
        made = peergate("cron", "add", "tea", "--at", "2100-01-01T00:00", "--command", "echo hi", "--json")
    assert told.code == made.code == 0
    assert told.out.splitlines()[0] == f"made mail ({ID})"
    assert told.out.splitlines()[1].startswith("every weekday at 09:00 Europe/Berlin, next: 2100-01-01 01:00:00 CET")
    assert made.document == {**JOB, "name": "tea"}
    assert one.calls("cron.add") == [
        {"name": "mail", "agentId": "scout", "schedule": {"kind": "every", "everyMs": 600_000},
         "payload": {"kind": "agentTurn", "message": "look"}},
        {"name": "tea", "schedule": {"kind": "at", "at": "2100-01-01T00:00:00.000Z"},
         "payload": {"kind": "command", "argv": ["echo", "hi"]}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "--name", "a", "--message", "b"), "--every 10m, --cron EXPR or --at TIME"),
        (("add", "--name", "a", "--every", "1h"), "--message TEXT"),
        (("add", "a", "--name", "b", "--every", "1h", "-m", "c"), "the name once"),
        (("edit", "report"), "what is to be different"),
        (("runs", "a", "--id", "b"), "JOB or --id"),
        (("add", "--misfire", "never"), "run-once"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_told_what_does(
    peergate: Shell, door: Door, words: tuple[str, ...], said: str
):
    with door() as one:
        ended = peergate("cron", *words)
    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert one.calls("cron.add") == one.calls("cron.update") == []


@pytest.mark.parametrize(
    ("refusal", "flag"),
    [
        ('cron expression "61 * * * *": bad minute', "--cron: "),
        ('unknown agent id "nobody"; configured: main', "--agent: "),
        ('cron: sessionTarget "main" is only valid for the default agent.', "--session: "),
        ('schedule.at "1" has no upcoming run time and would never fire', "--at: "),
    ],
)
def test_a_refusal_names_the_flag_it_is_about(peergate: Shell, door: Door, refusal: str, flag: str):
    def refuse(_: dict[str, Any]) -> Any:
        raise No("INVALID_REQUEST", refusal)

    with door(cron_add=refuse):
        ended = peergate("cron", "add", "a", "--every", "1h", "-m", "b")
    assert (ended.code, ended.err) == (1, f"peergate: {flag}{refusal}\n")


def test_a_declared_job_says_what_became_of_it(peergate: Shell, door: Door):
    words = ("cron", "add", "a", "--every", "1h", "-m", "b", "--declaration-key", "k")
    for answer, word in (({"created": True}, "made"), ({"created": False, "updated": True}, "changed"),
                         ({"created": False, "updated": False}, "as it was:")):  # fmt: skip
        with door(cron_add=answering({**answer, "job": JOB})):
            assert peergate(*words).out.startswith(f"{word} report")


def test_jobs_are_a_table(peergate: Shell, door: Door):
    with door(cron_list=answering(page(JOB, {**JOB, "enabled": False, "lastRunStatus": "ok"}, more=2))) as one:
        lines = peergate("cron", "list").out.splitlines()
        assert peergate("cron", "list", "--all", "--agent", "scout", "--sort", "name", "-n", "5", "--json").code == 0
    assert lines[0].split() == ["ID", "NAME", "WHEN", "NEXT", "LAST", "ENDED", "AGENT"]
    assert "every weekday at 09:00 Europe/Berlin" in lines[1]
    assert "error: no paper" in lines[1]
    assert "off" in lines[2].split()
    assert lines[3] == "(of 9; more: --offset 2)"
    assert one.calls("cron.list") == [
        {"includeDisabled": False, "limit": 50, "offset": 0},
        {"includeDisabled": True, "limit": 5, "offset": 0, "agentId": "scout", "sortBy": "name"},
    ]


def test_no_jobs_are_said_with_how_to_make_one(peergate: Shell, door: Door):
    with door(cron_list=answering(page()), cron_runs=answering({"entries": []})):
        assert "peergate cron add" in peergate("cron", "list").out
        assert peergate("cron", "runs").out == "no run has ended yet\n"


def test_one_job_is_shown_whole(peergate: Shell, door: Door):
    with door():
        told, document = peergate("cron", "show", "report"), peergate("cron", "show", "5d0c1f22", "--json")
    assert document.document == JOB
    for said in ("every weekday at 09:00 Europe/Berlin, next: 2100-01-01", "a turn: write it", "scout isolated",
                 "is made up for once", "leaves out what comes while it runs", "error: no paper"):  # fmt: skip
        assert said in told.out


def test_a_job_is_named_by_its_name_or_the_beginning_of_its_id(peergate: Shell, door: Door):
    other = {**JOB, "id": OTHER, "name": "reporter"}
    with door(cron_list=answering(page(JOB, other))) as one:
        for name in ("report", "5d0c1", ID):
            assert peergate("cron", "show", name).code == 0
        ambiguous, unknown, short = (peergate("cron", "show", name) for name in ("5d0c", "nobody", "5d0"))
    assert {call["id"] for call in one.calls("cron.get")} == {ID}
    assert (ambiguous.code, OTHER in ambiguous.err, ID in ambiguous.err) == (1, True, True)
    assert 'there is no job "nobody"' in unknown.err
    assert short.code == 1


def test_a_list_of_many_pages_is_looked_through(peergate: Shell, door: Door):
    def pages(params: dict[str, Any]) -> Any:
        return page(JOB) if params["offset"] == 200 else page({**JOB, "id": OTHER, "name": "x report"}, more=200)

    with door(cron_list=pages) as one:
        assert peergate("cron", "show", "report").code == 0
    assert [call["offset"] for call in one.calls("cron.list")] == [0, 200]


def test_what_is_edited_is_sent_and_nothing_else(peergate: Shell, door: Door):
    lines = [
        (("--every", "1h"), {"schedule": {"kind": "every", "everyMs": 3_600_000}}),
        (("--cron", "0 8 * * *"), {"schedule": {"kind": "cron", "expr": "0 8 * * *", "tz": "Europe/Berlin"}}),
        (("--tz", "UTC"),
         {"schedule": {"kind": "cron", "expr": "0 9 * * 1-5", "tz": "UTC", "staggerMs": 0}}),
        (("--timeout-seconds", "9"), {"payload": {"kind": "agentTurn", "timeoutSeconds": 9}}),
        (("--message", "b", "--disable"), {"payload": {"kind": "agentTurn", "message": "b"}, "enabled": False}),
        (("--clear", "agent", "--clear", "delivery"), {"agentId": None, "delivery": None}),
    ]  # fmt: skip
    with door() as one:
        for words, _ in lines:
            assert peergate("cron", "edit", "report", *words).code == 0
    assert one.calls("cron.update") == [{"id": ID, "patch": patch} for _, patch in lines]


def test_a_job_is_switched_and_removed(peergate: Shell, door: Door):
    with door() as one:
        off = peergate("cron", "disable", "report")
        assert peergate("cron", "enable", "report", "--json").document["enabled"] is True
        assert peergate("cron", "rm", "report").out == "removed report\n"
    assert [call["patch"] for call in one.calls("cron.update")] == [{"enabled": False}, {"enabled": True}]
    assert "switched off (peergate cron enable 5d0c1f22)" in off.out
    with door(cron_remove=answering({"ok": True, "removed": False})):
        assert peergate("cron", "rm", ID).code == 1


def test_a_run_is_started_and_waited_for(peergate: Shell, door: Door):
    looks = iter([[], [], [ENTRY], [{**ENTRY, "status": "error", "error": "no paper"}]])
    with door(cron_runs=lambda _: {"entries": next(looks)}) as one:
        assert "peergate cron runs report" in peergate("cron", "run", "report").out
        well = peergate("cron", "run", "report", "--wait", "--due")
        badly = peergate("cron", "run", "report", "--wait", "--json")
    assert (well.code, well.out) == (0, "written\n")
    assert (badly.code, badly.document["entry"]["error"], badly.document["runId"]) == (1, "no paper", "r1")
    assert one.calls("cron.run") == [{"id": ID}, {"id": ID, "mode": "due"}, {"id": ID}]
    assert one.calls("cron.runs")[0] == {"id": ID, "runId": "r1", "limit": 1}


def test_what_is_not_run_or_does_not_end_is_said(peergate: Shell, door: Door):
    with door(cron_run=answering({"ok": True, "ran": False, "reason": "already-running"})):
        ended = peergate("cron", "run", "report", "--wait")
    assert (ended.code, ended.err) == (1, "peergate: report was not run: it runs already\n")
    with door(cron_runs=answering({"entries": []})):
        ended = peergate("cron", "run", "report", "--wait", "--timeout", "0")
    assert (ended.code, "--run-id r1" in ended.err) == (1, True)


def test_runs_are_a_table_with_the_instants_they_are_for(peergate: Shell, door: Door):
    with door() as one:
        lines = peergate("cron", "runs", "report", "-n", "3", "--status", "ok").out.splitlines()
        assert peergate("cron", "runs", "--json").document["entries"][0]["slotMs"] == 1000
    assert lines[0].split() == ["FOR", "JOB", "ENDED", "TOOK", "TOLD", "WHAT", "IT", "SAID"]
    assert "written" in lines[1]
    assert one.calls("cron.runs") == [{"limit": 3, "offset": 0, "id": ID, "status": "ok"}, {"limit": 50, "offset": 0}]


def test_the_runs_of_a_job_that_is_gone_are_found_by_its_name(peergate: Shell, door: Door):
    with door(cron_list=answering(page())) as one:
        assert "written" in peergate("cron", "runs", "report").out
        assert peergate("cron", "runs", "nobody").code == 1
    assert one.calls("cron.runs")[1]["id"] == ID


def test_the_scheduler_says_how_it_is(peergate: Shell, door: Door):
    with door():
        assert peergate("cron", "status").out.startswith("at work, 3 jobs, the next at ")
    with door(cron_status=answering({"enabled": False, "jobs": 0, "nextWakeAtMs": None})):
        assert peergate("cron", "status").out == "switched off (cron.enabled), 0 jobs\n"


def test_a_session_is_woken(peergate: Shell, door: Door):
    with door() as one:
        assert peergate("wake", "look").out == "a run begins\n"
        assert peergate("wake", "-5 degrees", "--session", "scout", "--mode", "next-heartbeat").code == 0
    assert one.calls("wake") == [
        {"mode": "now", "text": "look"},
        {"mode": "next-heartbeat", "text": "-5 degrees", "sessionKey": "agent:scout:main"},
    ]
    with door(wake=answering({"ok": False})):
        assert peergate("wake", " ").code == 1


def test_inside_an_agent_everything_goes_through_the_session_tool(peergate: Shell):
    with FakeDoor(peergate.runtime, tools(cron={**JOB, "jobs": [JOB], "removed": True, "enqueued": True})) as one:
        one.principal = {"kind": "tool", "agentId": "main"}
        for words in (("add", "a", "--every", "1h", "-m", "b"), ("list",), ("rm", ID), ("disable", ID)):
            assert peergate("cron", *words, "--json").code == 0, words
    args = [call["args"] for call in one.calls("tools.invoke")]
    assert [each["action"] for each in args] == ["add", "list", "remove", "update"]
    assert args[0]["job"]["name"] == "a"
    assert (args[3]["id"], args[3]["patch"]) == (ID, {"enabled": False})
    assert ["idempotencyKey" in call for call in one.calls("tools.invoke")] == [True, False, True, True]


@pytest.mark.parametrize(("status", "code"), [("error", 1), ("forbidden", 77)])
def test_inside_an_agent_a_refusal_is_an_error(peergate: Shell, status: str, code: int):
    with FakeDoor(peergate.runtime, tools(cron={"status": status, "error": "not for you"})) as one:
        one.principal = {"kind": "tool", "agentId": "main"}
        ended = peergate("cron", "list")
    assert (ended.code, "not for you" in ended.err) == (code, True)


def test_the_next_times_of_an_expression_need_no_system(peergate: Shell):
    words = ("cron", "next", "30 2 * * *", "--tz", "Europe/Berlin", "--after", "2027-03-27T00:00Z", "-n", "3")
    told, document = peergate(*words), peergate(*words, "--json").document
    assert [line[:24].strip() for line in told.out.splitlines()] == [
        "every day at 02:30 Europ", "2027-03-27 02:30:00 CET", "2027-03-28 03:00:00 CEST", "2027-03-29 02:30:00 CEST",
    ]  # fmt: skip
    assert [slot["at"] for slot in document["slots"]] == [
        "2027-03-27T02:30:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00",
    ]  # fmt: skip
    now = time.time() * 1000
    assert (
        now < peergate("cron", "next", "* * * * *", "-n", "1", "--json").document["slots"][0]["slotMs"] < now + 61_000
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [(("61 * * * *",), "bad minute"), (("* * *",), "5 or 6"), (("0 0 30 2 *",), "bad day-of-month"),
     (("* * * * *", "--tz", "Mars"), "Europe/Berlin"), (("* * * * *", "--after", "soon"), '--after "soon"')],
)  # fmt: skip
def test_an_expression_that_means_nothing_is_told_why(peergate: Shell, words: tuple[str, ...], said: str):
    ended = peergate("cron", "next", *words)
    assert (ended.code, said in ended.err) == (2, True), ended.err


def test_a_shell_completes_names_of_jobs_and_ids_that_are_begun(
    peergate: Shell, door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("_PEERGATE_COMPLETE", "bash_complete")

    def completed(*words: str) -> str:
        monkeypatch.setenv("COMP_WORDS", " ".join(("peergate", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            peergate()
        return capsys.readouterr().out

    with door():
        assert completed("cron", "show", "rep") == "plain,report\n"
        assert completed("cron", "run", "5d0") == f"plain,{ID}\n"
        assert "wake" in completed("wa")
    assert completed("cron", "show", "rep").strip() == ""
