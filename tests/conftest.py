"""The conditions every test runs under: no settings from the caller's shell, one hypothesis profile, no silent skips.

Owns: ``ALLOWED_SKIPS``. As root on Linux, which is how CI runs, nothing may be missing but what stands there: any
other skip is reported as a failure, because a test that quietly stopped running protects nobody."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]

# Beginnings of reasons a machine may honestly have; the rest of a reason may name the detail.
ALLOWED_SKIPS = (
    "needs a kernel with pidfs",  # Linux 6.9: before it every pidfd has the same inode
    "needs user namespaces",  # a container's seccomp profile may refuse unshare(CLONE_NEWUSER)
    "needs a delegated cgroup",
    "needs systemd as init",
    "needs systemd-nspawn",
    "needs bubblewrap",
    "needs buildah",
    "needs crun",
    "needs mmdebstrap",  # or the Debian mirror it asks
    "needs a package index",  # an image is built with pip
    "needs CAP_SYS_TIME",  # to set the clock by a nanosecond
    "needs chromium",
    "needs macOS",
)

settings.register_profile("peergate", deadline=None, print_blob=True)
settings.load_profile("peergate")


def skips_are_counted() -> bool:
    """True where a skip that is not allowed fails the run."""
    return sys.platform == "linux" and os.geteuid() == 0


def pytest_configure() -> None:
    """Forget the caller's peergate: tests run inside an agent, or beside a real gateway, must not find it. What they
    start takes any free port, so that it does not meet a system that has the usual one."""
    for name in [name for name in os.environ if name.startswith("PEERGATE_")]:
        del os.environ[name]
    os.environ["PEERGATE_GATEWAY_PORT"] = "0"


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip whose reason is not allowed into a failure that says so; leave every other report alone."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"this skip is not in ALLOWED_SKIPS (tests/conftest.py), so it counts as a failure: {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See each test's report last, after pytest's own skipping plugin has had its say."""
    report = yield
    if skips_are_counted():
        refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is imported."""
    report = yield
    if skips_are_counted():
        refuse_skip(report)
    return report
