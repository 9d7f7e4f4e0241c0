"""A skip nobody allowed fails the run where skips are counted, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

STORY = """
import pytest

@pytest.mark.skip(reason="the moon is wrong")
def test_marked(): ...

def test_called():
    pytest.skip("not today")

def test_honest():
    pytest.skip("needs bubblewrap: bwrap is not on PATH")

@pytest.mark.xfail(reason="known")
def test_known(): assert False

def test_plain(): ...
"""


@pytest.fixture
def inner(pytester: pytest.Pytester) -> pytest.Pytester:
    """A small project that runs under our conftest, where skips are counted or not (``COUNTED``)."""
    ours = (Path(__file__).parent / "conftest.py").read_text()
    pytester.makeconftest(
        ours.replace('pytest_plugins = ["pytester"]', "")
        + "\n\ndef skips_are_counted() -> bool:\n    return os.environ['COUNTED'] == 'yes'\n"
    )
    return pytester


def test_as_root_on_linux_only_an_allowed_reason_may_skip(inner, monkeypatch):
    monkeypatch.setenv("COUNTED", "yes")
    inner.makepyfile(STORY)
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1, failed=1, skipped=1, xfailed=1)  # a mark is met in the set-up
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*not in ALLOWED_SKIPS*the moon is wrong*"])


def test_elsewhere_every_skip_is_only_a_skip(inner, monkeypatch):
    monkeypatch.setenv("COUNTED", "no")
    inner.makepyfile(STORY)
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=1, skipped=3, xfailed=1)
    assert result.ret == pytest.ExitCode.OK


def test_a_module_that_skips_itself_is_counted_too(inner, monkeypatch):
    monkeypatch.setenv("COUNTED", "yes")
    inner.makepyfile("import pytest\npytest.importorskip('no_such_module_anywhere')\n")
    result = inner.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*not in ALLOWED_SKIPS*"])
