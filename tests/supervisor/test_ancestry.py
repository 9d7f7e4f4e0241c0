"""The walk from a process to whoever answers for it, against trees that hold still and trees that do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from supervisor.ancestry import MAX_LEVELS, Answer, Found, Gone, walk

SUPERVISOR = 10


class Tree:
    """Processes as parent numbers; a handle is a process's identity, which stays when its number goes to another.

    `changes` run one by one, each before a question is answered: what another processor does meanwhile."""

    def __init__(self, parents: dict[int, int], known: dict[int, str] | None = None) -> None:
        self.supervisor = SUPERVISOR
        self.parents = dict(parents)
        self.known_pids = dict(known or {})
        self.numbers = {pid: pid for pid in parents}  # number -> identity
        self.opened = 0
        self.changes: dict[int, Callable[[Tree], None]] = {}
        self.always: Callable[[Tree], None] = lambda tree: None
        self.questions = 0

    def _meanwhile(self) -> None:
        self.questions += 1
        self.changes.pop(self.questions, lambda tree: None)(self)
        self.always(self)

    def open(self, pid: int) -> int:
        self._meanwhile()
        if pid not in self.numbers:
            raise Gone
        self.opened += 1
        return self.numbers[pid]

    def close(self, handle: int) -> None:
        self.opened -= 1

    def parent(self, handle: int) -> int:
        self._meanwhile()
        if handle not in self.parents:
            raise Gone
        return self.parents[handle]

    def known(self, handle: int) -> str | None:
        return self.known_pids.get(handle)

    def end(self, pid: int, adopter: int) -> None:
        """A process ends; its children go to the adopter."""
        self.parents.pop(pid, None)
        self.numbers = {number: identity for number, identity in self.numbers.items() if identity != pid}
        for child, parent in self.parents.items():
            if parent == pid:
                self.parents[child] = adopter


WORKER, TOOL, SUBTOOL, OTHER = 20, 30, 40, 50
FAMILY = {WORKER: SUPERVISOR, TOOL: WORKER, SUBTOOL: TOOL, OTHER: 1, 60: OTHER, 70: 0, 80: 70}


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (TOOL, Found(Answer.FOUND, "worker")),
        (SUBTOOL, Found(Answer.FOUND, "worker")),
        (WORKER, Found(Answer.SUPERVISOR)),  # asked about itself, which the caller looks up before it walks
        (OTHER, Found(Answer.OUTSIDE)),
        (60, Found(Answer.OUTSIDE)),
        (70, Found(Answer.OUTSIDE)),  # its parent lies outside our PID namespace
        (80, Found(Answer.OUTSIDE)),
        (99, Found(Answer.DEAD)),
    ],
)
def test_a_tree_that_holds_still(start, expected):
    tree = Tree(FAMILY, {WORKER: "worker"})
    assert walk(start, tree) == expected
    assert tree.opened == 0, "every handle that was opened is closed"


def test_as_the_first_process_the_supervisor_is_no_outsider():
    tree = Tree({5: 1, 6: 5})
    tree.supervisor = 1
    assert walk(6, tree) == Found(Answer.SUPERVISOR)


def test_the_nearest_known_ancestor_counts():
    tree = Tree(FAMILY, {WORKER: "worker", TOOL: "zygote"})
    assert walk(SUBTOOL, tree) == Found(Answer.FOUND, "zygote")


@pytest.mark.parametrize("question", range(1, 12))
def test_a_parent_that_ends_at_any_moment_changes_nothing_for_an_orphan_its_worker_adopts(question):
    tree = Tree(FAMILY, {WORKER: "worker"})
    tree.changes[question] = lambda tree: tree.end(TOOL, adopter=WORKER)
    assert walk(SUBTOOL, tree) == Found(Answer.FOUND, "worker")


@pytest.mark.parametrize("question", range(1, 12))
def test_a_worker_that_ends_at_any_moment_never_makes_its_tool_an_outsider(question):
    tree = Tree(FAMILY, {WORKER: "worker"})
    tree.changes[question] = lambda tree: tree.end(WORKER, adopter=SUPERVISOR)
    assert walk(SUBTOOL, tree).answer in (Answer.FOUND, Answer.SUPERVISOR)


@pytest.mark.parametrize("question", range(1, 12))
def test_a_number_that_goes_to_a_stranger_at_any_moment_never_makes_a_tool_an_outsider(question):
    """The parent ends between being named and being opened, and its number is taken by a child of init."""

    def reuse(tree: Tree) -> None:
        tree.end(TOOL, adopter=WORKER)
        tree.numbers[TOOL] = 777
        tree.parents[777] = 1

    tree = Tree(FAMILY, {WORKER: "worker"})
    tree.changes[question] = reuse
    assert walk(SUBTOOL, tree) == Found(Answer.FOUND, "worker")


@pytest.mark.parametrize("question", range(1, 12))
def test_a_number_that_goes_to_a_worker_at_any_moment_never_makes_a_stranger_its_tool(question):
    """60's parent ends, init adopts 60, and a new worker gets the parent's number."""

    def reuse(tree: Tree) -> None:
        tree.end(OTHER, adopter=1)
        tree.numbers[OTHER] = 888
        tree.parents[888] = SUPERVISOR
        tree.known_pids[888] = "another worker"

    tree = Tree(FAMILY, {WORKER: "worker"})
    tree.changes[question] = reuse
    assert walk(60, tree) == Found(Answer.OUTSIDE)


@pytest.mark.parametrize("question", range(1, 6))
def test_an_answer_that_was_overtaken_on_the_way_up_is_not_given(question):
    """60 changes hands after its own level was read and checked: only another look from the top can see it."""
    tree = Tree(FAMILY, {WORKER: "worker"})
    tree.changes[question] = lambda tree: tree.parents.update({60: WORKER})
    assert walk(60, tree) == Found(Answer.FOUND, "worker")


def test_the_process_itself_ending_is_dead():
    tree = Tree(FAMILY, {WORKER: "worker"})
    tree.changes[2] = lambda tree: tree.end(SUBTOOL, adopter=1)
    assert walk(SUBTOOL, tree).answer is Answer.DEAD


def test_what_never_holds_still_is_refused_after_three_more_attempts():
    tree = Tree(FAMILY, {WORKER: "worker"})

    def flip(tree: Tree) -> None:
        tree.parents[SUBTOOL] = TOOL if tree.parents[SUBTOOL] == WORKER else WORKER

    tree.always = flip
    assert walk(SUBTOOL, tree) == Found(Answer.UNSTABLE)
    assert tree.opened == 0


@pytest.mark.parametrize(
    ("levels", "answer"),
    [(MAX_LEVELS - 1, Answer.FOUND), (MAX_LEVELS, Answer.FOUND), (MAX_LEVELS + 1, Answer.TOO_DEEP)],
)
def test_sixty_four_ancestors_are_followed_and_no_more(levels, answer):
    first = 100
    tree = Tree({first + level: first + level - 1 for level in range(1, levels + 1)} | {first: 1}, {first: "worker"})
    assert walk(first + levels, tree).answer is answer
    assert tree.opened == 0
