"""What of a worker's output is told when it died. Its life is told in `tests/process/test_supervisor_workers.py`."""

from __future__ import annotations

import traceback

import pytest

from supervisor.worker import LAST_WORDS_CHARS, last_words


def after(text: str) -> str:
    """The last words of a worker that printed `text`."""
    words = ""
    for line in text.splitlines():
        words = last_words(line) or words
    return words


def test_the_last_words_of_a_group_of_errors_are_its_last_error_and_not_the_box_around_it():
    group = BaseExceptionGroup("all of it", [ValueError("first"), ExceptionGroup("inner", [OSError("disk on fire")])])
    printed = "".join(traceback.format_exception(group))
    assert printed.splitlines()[-1].strip(" +-") == ""
    assert after(printed) == "OSError: disk on fire"


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("Traceback (most recent call last):\nKeyError: 'k'\n", "KeyError: 'k'"),
        ("bye\n\n   \n", "bye"),
        ("ümlaut\n════════\n", "ümlaut"),
        ("", ""),
        ("x" * 1000, "x" * LAST_WORDS_CHARS),
    ],
)
def test_the_last_words_are_the_last_line_that_says_something(printed: str, told: str):
    assert after(printed) == told
