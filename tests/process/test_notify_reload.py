"""What systemd is told of a reload that comes before the system is ready."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.system import eventually
from tests.support.tiny_system import TARGETS, Tiny, agents


def hears_ready(listener: socket.socket, seconds: float) -> bool:
    listener.settimeout(seconds)
    try:
        while not listener.recv(4096).startswith(b"READY=1"):
            pass
    except TimeoutError:
        return False
    return True


def test_systemd_hears_ready_when_the_gateway_is_and_not_when_a_reload_before_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    system = Tiny(agents("wait"))
    system.state.mkdir(mode=0o700)
    (system.state / "exit-1").touch()  # no gateway gets ready
    command = [sys.executable, "-I", "-m", "supervisor", "--runtime-dir", str(system.runtime), "--state-dir"]
    command += [str(system.state), "--config", str(system.config), *TARGETS]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            eventually((system.state / "logs" / "peergate.log").exists, 20)
            system.wait_for_record("will be started again")
            process.send_signal(signal.SIGHUP)
            system.wait_for_record("configuration reloaded")
            assert not hears_ready(listener, 1)
            (system.state / "exit-1").unlink()
            assert hears_ready(listener, 20)
        finally:
            process.terminate()
            assert process.wait(20) == 0
            system.remove()
