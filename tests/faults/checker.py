"""What must have come true. Pure: from evidence to the places where it did not.

Owns the promises, one function each. What is promised, exactly:

* an accepted message stands in its session's transcript once, in the order of its sender, and its run ends: done with
  the right reply, or interrupted after three attempts that all lost their worker (when the system was told to stop is
  not one of the three);
* a session has one turn at a time, and an attempt one process;
* a child that was started once exists once, and its result reaches its parent once: as one announcement in the
  transcript, or through `wait_children` (who asks by name for a result that was announced before is answered). A turn
  may be told again when an attempt is repeated, or when it ended with its steer channel open; what it noted in its
  durable state is there once;
* messages between agents are as messages from outside;
* transcripts are numbered without a gap, and nothing stands in one that nobody sent."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from math import inf
from typing import Any

from tests.faults.evidence import Evidence, child_of, name_of

MOST_ATTEMPTS = 3
LISTED_CHARACTERS = 2000
"""Of a run's text in runs.list."""
GIVEN_UP = re.compile(r"attempt (\d+) of \1\b")


class Checker:
    """Goes through the evidence; `violations` says what is wrong, `checks` how much was looked at."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self.violations: list[str] = []
        self.checks = 0
        self._places: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for session, messages in evidence.transcripts.items():
            for place, message in enumerate(messages):
                name = name_of(message)
                if message["role"] == "user" and name is not None:
                    self._places[name].append((session, place))

    def run(self) -> Checker:
        """Check everything."""
        for text in self._evidence.refused:
            self._must(False, text)
        self._sequences()
        self._accepted()
        self._order()
        self._turns()
        self._children()
        self._letters()
        self._strangers()
        self._memories()
        return self

    def _must(self, holds: bool, text: str) -> None:
        self.checks += 1
        if not holds:
            self.violations.append(text)

    def _gave_up(self, run: str) -> bool:
        """Whether a run lost its worker three times, which the promise allows."""
        row = self._evidence.runs.get(run) or {}
        last = GIVEN_UP.search(row.get("error") or "")
        return row.get("state") == "interrupted" and last is not None and int(last[1]) >= MOST_ATTEMPTS

    # --- messages

    def _sequences(self) -> None:
        for session, messages in self._evidence.transcripts.items():
            numbers = [message["seq"] for message in messages]
            self._must(numbers == list(range(1, len(numbers) + 1)), f"{session}: numbered {numbers}")

    def _once(self, name: str, session: str, run: str) -> None:
        places = self._places.get(name, [])
        self._must(
            [place[0] for place in places] == [session],
            f"{name} for {session} stands in {places} (run {run}: {self._row(run)})",
        )

    def _row(self, run: str) -> str:
        row = self._evidence.runs.get(run)
        if row is None:
            return "unknown"
        return f"{row['state']}, attempt {row.get('attempt')}, {row.get('error')}"

    def _accepted(self) -> None:
        for one in self._evidence.accepted:
            self._once(one.id, one.session, one.run)
            outcome = self._evidence.outcomes.get(one.run)
            self._must(outcome is not None, f"{one.id}: nobody saw the end of its run {one.run}")
            if outcome is None:
                continue
            steered = outcome.get("stopReason") == "steered" and not one.ordered
            right = outcome.get("state") == "done" and (steered or outcome.get("reply") == f"re:{one.id}")
            self._must(right or self._gave_up(one.run), f"{one.id} came to {outcome}")

    def _order(self) -> None:
        """Of each sender, in each session: by the numbers it sent them with, each acknowledged before the next; in the
        transcript, and in the last reply of each run."""
        sent: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for one in self._evidence.accepted:
            if one.ordered:
                for session, place in self._places.get(one.id, []):
                    sent[one.sender, session].append((one.number, place))
        for (sender, session), pairs in sent.items():
            places = [place for _, place in sorted(pairs)]
            self._must(places == sorted(places), f"{sender} in {session}: {sorted(pairs)}")

        replied = {line["run"]: line["at"] for line in self._evidence.of("reply")}
        turns: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
        for one in self._evidence.accepted:
            if one.ordered and one.run in replied:
                turns[one.sender, one.session].append((one.number, replied[one.run]))
        for (sender, session), answered in turns.items():
            times = [at for _, at in sorted(answered)]
            self._must(times == sorted(times), f"{sender} in {session} was answered out of turn: {sorted(answered)}")

    # --- turns

    def _turns(self) -> None:
        for line in self._evidence.of("overlap"):
            self._must(False, f"two turns of one session at once: {line}")
        for line in self._evidence.of("cut"):
            self._must(False, f"a line was written in part: {line}")
        processes: dict[tuple[str, int], set[int]] = defaultdict(set)
        for line in self._evidence.lines:
            if "run" in line:
                processes[line["run"], line["attempt"]].add(line["pid"])
        for (run, attempt), pids in processes.items():
            self._must(len(pids) == 1, f"run {run}, attempt {attempt} was carried out by {pids}")
            allowed = MOST_ATTEMPTS + self._evidence.stops
            self._must(attempt <= allowed, f"run {run} had attempt {attempt}, {allowed} are allowed")
        replies = {line["run"]: line["reply"] for line in self._evidence.of("reply")}
        for run, row in self._evidence.runs.items():
            self._must(row.get("endedAt") is not None, f"run {run} has not ended: {self._row(run)}")
            if row["state"] == "done" and row.get("text"):
                reply = (replies.get(run) or "")[:LISTED_CHARACTERS]
                self._must(row["text"] == reply, f"run {run}: {row['text']} is not {reply}")
            self._must(row["state"] == "done" or self._excused(run, row), f"run {run} ended: {self._row(run)}")

    def _excused(self, run: str, row: dict[str, Any]) -> bool:
        """Interrupted after three attempts, or ended with a parent that was."""
        if self._gave_up(run):
            return True
        return row["state"] == "aborted" and "its parent run interrupted" in (row.get("error") or "")

    # --- children

    def _children(self) -> None:
        announced = Counter(
            (session, child)
            for session, messages in self._evidence.transcripts.items()
            for message in messages
            if message["role"] == "user" and (child := child_of(message)) is not None
        )
        waited = {(line["session"], line["child"]) for line in self._evidence.of("waited")}
        runs_of: dict[str, set[str]] = defaultdict(set)
        started: dict[str, dict[str, Any]] = {}
        for line in self._evidence.of("spawned"):
            runs_of[line["id"]].add(line["child"])
            started[line["child"]] = line
        for name, runs in runs_of.items():
            self._must(len(runs) == 1, f"child {name} was started as {runs}")
        for run, line in started.items():
            self._child(run, line, announced[line["session"], run], (line["session"], run) in waited)

    def _child(self, run: str, line: dict[str, Any], announced: int, waited: bool) -> None:
        row = self._evidence.runs.get(run)
        self._must(row is not None, f"child {line['id']}: its run {run} is not known")
        if row is None:
            return
        if row["state"] == "done":
            self._once(line["id"], line["key"], run)
        else:
            self._must(len(self._places.get(line["id"], [])) <= 1, f"child {line['id']} stands in more than one place")
        told = (
            f"child {line['id']} ({self._row(run)}) of {line['run']}: announced {announced} times, waited for: {waited}"
        )
        self._must(announced <= (1 if line["announces"] else 0), told)
        self._must(not (announced and waited) or self._asked_again(run), f"{told}, in this order")
        parent = self._evidence.runs.get(line["run"]) or {}
        whole = parent.get("state") == "done" and (line["announces"] or self._collected(line["run"]))
        if whole and row["state"] in ("done", "interrupted"):
            self._must(bool(announced or waited), told)

    def _collected(self, run: str) -> bool:
        """Whether a parent that asked for no announcements got to the end of its waiting: else nobody promised it
        anything."""
        spawned = {line["child"] for line in self._evidence.of("spawned") if line["run"] == run}
        waited = {line["child"] for line in self._evidence.of("waited") if line["run"] == run}
        return spawned <= waited

    def _asked_again(self, run: str) -> bool:
        """Whether a result was announced first and asked for by name afterwards: that is an answer, no second
        delivery. The other way round it would be."""
        first = {what: inf for what in ("heard", "waited")}
        for line in self._evidence.lines:
            if line["what"] in first and line["child"] == run:
                first[line["what"]] = min(first[line["what"]], line["at"])
        return first["heard"] < first["waited"]

    def _memories(self) -> None:
        """What a session was told of, it remembers, with the child's own words."""
        for session, state in self._evidence.states.items():
            remembered = state.get("heard", {})
            for message in self._evidence.transcripts.get(session, []):
                child = child_of(message) if message["role"] == "user" else None
                if child is None or self._gave_up(message["runId"]):
                    continue
                self._must(child in remembered, f"{session} was told of {child} and does not remember it")
                row = self._evidence.runs.get(child, {})
                if row.get("state") == "done":
                    same = remembered.get(child) == row.get("text")
                    self._must(same, f"{session} heard {remembered.get(child)!r} of {child}, not {row.get('text')!r}")

    # --- between agents

    def _letters(self) -> None:
        targets: dict[str, set[str]] = defaultdict(set)
        for line in self._evidence.of("sent"):
            if line.get("to"):
                targets[line["id"]].add(line["to"])
            self._letter(line)
        for name, runs in targets.items():
            self._must(len(runs) == 1, f"letter {name} was sent as {runs}")

    def _letter(self, line: dict[str, Any]) -> None:
        session, run = f"agent:{line['peer']}:main", line.get("to") or ""
        match line["status"]:
            case "ok":
                self._once(line["id"], session, run)
                self._must(line["reply"] == f"re:{line['id']}", f"{line['id']} was answered {line['reply']!r}")
            case "accepted":
                self._once(line["id"], session, run)
            case _:
                self._must(self._gave_up(run), f"{line['id']} to {session}: {line} ({self._row(run)})")

    def _strangers(self) -> None:
        known = {one.id for one in self._evidence.accepted}
        known |= {line["id"] for line in self._evidence.lines if "id" in line}
        for session, messages in self._evidence.transcripts.items():
            for message in _from_users(messages):
                name, child = name_of(message), child_of(message)
                if child is not None:
                    self._must(child in self._evidence.runs, f"{session}: announces the unknown run {child}")
                else:
                    self._must(name is None or name in known or _is_told(name), f"{session}: nobody sent {name}")
        for name, places in self._places.items():
            self._must(len(places) == 1, f"{name} stands in {places}")


def _from_users(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (message for message in messages if message["role"] == "user")


def _is_told(name: str) -> bool:
    return name.startswith("tell-")
