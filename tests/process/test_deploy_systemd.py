"""The shipped unit under a real systemd: a booted machine in which peergate is installed as operations.md says."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.booted import ROOT, Machine, booted, require_boot
from tests.support.system import eventually

DEPLOY = ROOT / "deploy" / "systemd"
CONFIG = "/etc/peergate/peergate.toml"
DROP_IN = "/run/systemd/system/peergate.service.d/test.conf"
GROUP = "system.slice/peergate.service"

# An agent whose program leaves a daemon behind, in a session of its own, and then takes its time.
CLINGING = """
[agents.entries.clinging.runtime]
type = "command"
argv = ["/bin/sh", "-c", "setsid -f sleep 4242; exec sleep 4243"]
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    require_boot()
    files = {
        "/etc/systemd/system/peergate.service": (DEPLOY / "peergate.service").read_text(),
        "/usr/lib/sysusers.d/peergate.conf": (DEPLOY / "peergate.sysusers").read_text(),
    }
    with booted(files, {"/opt/peergate": sys.prefix}) as machine:
        machine.run("systemd-sysusers")
        machine.run("useradd", "--groups", "peergate", "member")
        machine.run("useradd", "passerby")
        yield machine


@pytest.fixture
def installed(machine: Machine) -> Iterator[Machine]:
    """The unit as shipped, with the configuration as shipped, not started."""
    machine.write(CONFIG, (DEPLOY / "peergate.toml").read_text())
    yield machine
    machine.run("rm", "-rf", DROP_IN)
    machine.run("systemctl", "daemon-reload")
    machine.attempt("systemctl", "stop", "peergate")
    machine.attempt("systemctl", "reset-failed", "peergate")


@pytest.fixture
def service(installed: Machine) -> Machine:
    installed.run("systemctl", "start", "peergate")
    return installed


def drop_in(machine: Machine, *settings: str) -> None:
    machine.write(DROP_IN, "\n".join(["[Service]", *settings, ""]))
    machine.run("systemctl", "daemon-reload")


def state_of(machine: Machine) -> dict[str, str]:
    return machine.unit("peergate", "ActiveState", "SubState", "MainPID", "NRestarts", "Result", "ExecMainStatus")


def processes(machine: Machine, kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(machine.run("peergate", "ps", "--json"))
    return [row for row in rows if row["kind"] == kind]


def journal(machine: Machine) -> str:
    return machine.run("journalctl", "--unit", "peergate", "--no-pager", "--output", "cat")


def cling(machine: Machine) -> set[int]:
    """Give the clinging agent something to do; the pids of its program and of the daemon that left it."""

    def sleepers() -> list[str]:
        return machine.attempt("pidof", "sleep").stdout.split()

    machine.run("peergate", "send", "clinging", "hello", "--no-wait")
    eventually(lambda: len(sleepers()) == 2)
    return {int(pid) for pid in sleepers()}


def test_systemd_verifies_the_unit(installed: Machine):
    said = installed.run("systemd-analyze", "verify", "peergate.service")
    assert "peergate" not in said, said


def test_the_unit_is_active_when_the_gateway_answers_and_not_before(installed: Machine):
    installed.run("systemctl", "start", "--no-block", "peergate")
    seen: list[tuple[str, int]] = []
    while not seen or seen[-1][0] != "active":
        state = state_of(installed)["ActiveState"]
        seen.append((state, installed.attempt("peergate", "health").returncode))
        assert state in ("activating", "active"), journal(installed)
    assert seen[0] == ("activating", 69)
    assert seen[-1] == ("active", 0)
    assert installed.unit("peergate", "StatusText") == {"StatusText": "ready"}


def test_root_the_account_and_its_group_are_let_in_and_a_passerby_is_not(service: Machine):
    for user in ("root", "peergate", "member"):
        assert "well" in service.run("peergate", "health", user=user)
    assert service.attempt("peergate", "call", "agents.release", '{"agentId":"main"}', user="member").returncode == 77
    for user in ("passerby", "nobody"):
        refused = service.attempt("peergate", "health", user=user)
        assert refused.returncode == 77
        assert "gateway.unix.operatorGroup" in refused.stdout
    assert service.attempt("ls", "/var/lib/peergate", user="member").returncode != 0
    modes = service.run("stat", "-c", "%a %U %G", "/run/peergate", "/var/lib/peergate", "/run/peergate/operator.sock")
    assert modes.splitlines() == ["711 peergate peergate", "700 peergate peergate", "660 peergate peergate"]


def test_reload_takes_a_new_agent_and_leaves_everything_running(service: Machine):
    before = state_of(service)
    gateway = processes(service, "gateway")
    service.write(CONFIG, (DEPLOY / "peergate.toml").read_text() + CLINGING)
    service.run("systemctl", "reload", "peergate")
    eventually(lambda: "clinging" in service.run("peergate", "agents"))
    service.write(CONFIG, "[gateway]\nprot = 1\n")
    service.run("systemctl", "reload", "peergate")
    eventually(lambda: "was not reloaded" in journal(service))
    assert "clinging" in service.run("peergate", "agents")
    assert [row["pid"] for row in processes(service, "gateway")] == [row["pid"] for row in gateway]
    eventually(lambda: state_of(service) == before)


def test_an_upgrade_replaces_the_code_and_systemd_sees_the_same_service(service: Machine):
    before = state_of(service)
    (gateway,) = processes(service, "gateway")
    service.run("systemctl", "kill", "--kill-who=main", "--signal=SIGUSR2", "peergate")
    eventually(lambda: [row["pid"] for row in processes(service, "gateway")] not in ([], [gateway["pid"]]))
    eventually(lambda: not service.alive(gateway["pid"]))
    assert state_of(service) == before


def test_each_worker_has_a_delegated_group_of_its_own(service: Machine):
    service.write(CONFIG, (DEPLOY / "peergate.toml").read_text() + CLINGING)
    service.run("systemctl", "restart", "peergate")
    pids = cling(service)
    groups = {service.run("cat", f"/proc/{pid}/cgroup").strip().splitlines()[-1] for pid in pids}
    (group,) = groups
    path = group.removeprefix("0::")
    assert re.fullmatch(rf"/{GROUP}/worker-[^/]+", path)
    if "pids" in service.run("cat", f"/sys/fs/cgroup/{GROUP}/cgroup.controllers"):
        assert service.run("cat", f"/sys/fs/cgroup{path}/pids.max").strip() != "max"


def test_as_root_every_agent_gets_a_uid_of_its_own(installed: Machine):
    drop_in(installed, "User=root", "Group=root")
    uids = "[supervisor.uids]\nfirst = 2000000\ncount = 100\ngid = 2000000\n"
    installed.write(CONFIG, (DEPLOY / "peergate.toml").read_text() + uids + CLINGING)
    assert installed.attempt("systemctl", "start", "peergate").returncode == 0, journal(installed)
    for pid in cling(installed):
        assert installed.run("stat", "-c", "%u %g", f"/proc/{pid}").split() == ["2000000", "2000000"]
    assert "well" in installed.run("peergate", "health", user="member")


def test_a_killed_supervisor_is_started_again_and_nothing_of_the_old_one_is_left(service: Machine):
    service.write(CONFIG, (DEPLOY / "peergate.toml").read_text() + CLINGING)
    service.run("systemctl", "restart", "peergate")
    old = cling(service) | service.pids(GROUP)
    assert len(old) >= 5
    main = int(state_of(service)["MainPID"])
    service.run("kill", "-9", str(main))
    eventually(lambda: state_of(service)["NRestarts"] == "1" and state_of(service)["ActiveState"] == "active", 20)
    assert not [pid for pid in old if service.alive(pid)]
    assert "well" in service.run("peergate", "health")


def test_a_supervisor_that_hangs_is_replaced_by_the_watchdog(installed: Machine):
    drop_in(installed, "WatchdogSec=1")
    installed.run("systemctl", "start", "peergate")
    old = int(state_of(installed)["MainPID"])
    time.sleep(2)
    assert int(state_of(installed)["MainPID"]) == old  # it is being petted
    installed.run("kill", "-STOP", str(old))
    eventually(lambda: state_of(installed)["NRestarts"] == "1" and state_of(installed)["ActiveState"] == "active", 20)
    assert "Failed with result 'watchdog'" in journal(installed)
    assert "well" in installed.run("peergate", "health")


@pytest.mark.parametrize("wrong", ["[gateway]\nprot = 1\n", None])
def test_a_wrong_or_missing_configuration_is_said_once_and_not_retried(installed: Machine, wrong: str | None):
    if wrong is None:
        installed.run("rm", CONFIG)
    else:
        installed.write(CONFIG, wrong)
    assert installed.attempt("systemctl", "start", "peergate").returncode != 0
    time.sleep(1.5)  # RestartSec is 1
    state = state_of(installed)
    assert (state["ActiveState"], state["ExecMainStatus"], state["NRestarts"]) == ("failed", "78", "0")
    assert (CONFIG + (": gateway.prot" if wrong else "")) in journal(installed)


def test_a_stop_ends_a_stubborn_agent_in_time_and_leaves_nothing(service: Machine):
    stubborn = CLINGING.replace("setsid -f", "trap '' TERM; setsid -f").replace("exec sleep", "sleep")
    service.write(CONFIG, (DEPLOY / "peergate.toml").read_text() + stubborn)
    service.run("systemctl", "restart", "peergate")
    pids = cling(service) | service.pids(GROUP)
    started = time.monotonic()
    service.run("systemctl", "stop", "peergate")
    assert time.monotonic() - started < 10
    state = state_of(service)
    assert (state["ActiveState"], state["Result"], state["ExecMainStatus"]) == ("inactive", "success", "0")
    assert not [pid for pid in pids if service.alive(pid)]
    assert service.attempt("ls", "/run/peergate").returncode != 0
    assert service.attempt("ls", "/var/lib/peergate/peergate.db").returncode == 0
