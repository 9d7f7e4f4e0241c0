"""The outer door's sockets in a real system: they outlive gateways, a taken port refuses the start, a reload moves
none."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from typing import Any

import pytest

from tests.support.system import eventually
from tests.support.tiny_system import Tiny, agents, tiny


def with_gateway(**gateway: Any) -> dict[str, Any]:
    return {**agents("wait"), "gateway": gateway}


def port_of(system: Tiny) -> int:
    return int(system.status()["addresses"][0].rpartition(":")[2])


def gateway_of(system: Tiny, generation: int) -> int:
    """The gateway's number, once the file that says it has been written for this generation."""

    def find() -> Any:
        status = system.status()
        return status["generation"] == generation and status["state"] == "ready" and status["gateway"]["pid"]

    return int(eventually(find, 20))


def asked_at(address: tuple[str, int]) -> int:
    """The generation of the gateway that answers there; waits in the queue while there is none."""
    with socket.create_connection(address, timeout=20) as connection, connection.makefile("rw") as file:
        file.write('{"do": "generation"}\n')
        file.flush()
        return int(json.loads(file.readline()))


def test_the_outer_door_stays_open_while_a_gateway_is_started_again():
    with tiny(with_gateway(bind="loopback")) as system:
        port = port_of(system)
        assert system.status()["addresses"] == [f"127.0.0.1:{port}", f"[::1]:{port}"]
        for generation in (1, 2, 3):
            assert asked_at(("127.0.0.1", port)) == asked_at(("::1", port)) == generation
            os.kill(gateway_of(system, generation), signal.SIGKILL)
        assert asked_at(("127.0.0.1", port)) == 4


def test_off_opens_no_port():
    with tiny(with_gateway(bind="off")) as system:
        assert system.status()["addresses"] == []
        assert system.ask("generation") == 1


def test_a_taken_port_refuses_the_start_and_says_who_has_it():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        system = Tiny(with_gateway(bind="loopback", port=port))
        try:
            with pytest.raises(AssertionError, match="exit 1"):
                system.begin()
            assert f"127.0.0.1:{port} is taken by pid {os.getpid()} (" in system.log()
            assert "gateway.port or --port" in system.log()
            assert "Traceback" not in system.log()
        finally:
            system.remove()


def test_a_door_that_somebody_shut_down_is_open_again_with_a_new_gateway():
    with tiny(with_gateway(bind="loopback")) as system:
        port, gateway = port_of(system), system.pid_of("gateway")
        pidfd = os.pidfd_open(gateway)
        try:
            stolen = _outer_socket(gateway, pidfd, port)
        finally:
            os.close(pidfd)
        with stolen:
            stolen.shutdown(socket.SHUT_RDWR)
        assert "outer:0" in system.wait_for_record("opened again")["msg"]
        assert asked_at(("127.0.0.1", port)) >= 2


def _outer_socket(pid: int, pidfd: int, port: int) -> socket.socket:
    """The gateway's own copy of the IPv4 listener: pidfd_getfd(2), which root may use."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
            copy = socket.socket(fileno=ctypes.CDLL(None).syscall(438, pidfd, int(name), 0))
            if copy.family == socket.AF_INET and copy.getsockname()[1] == port:
                return copy
            copy.close()
    pytest.fail(f"{sys.platform}: the gateway has no listener on {port}")


def test_a_reload_moves_no_socket_and_keeps_what_guards_it():
    with tiny(with_gateway(bind="loopback", auth={"mode": "token", "token": "t"})) as system:
        addresses = system.status()["addresses"]
        open_to_all = {"bind": "custom", "customBindHost": "127.0.0.2", "auth": {"mode": "none"}}
        system.config.write_text(json.dumps({**with_gateway(**open_to_all), "logging": {"level": "debug"}}))
        system.signal(signal.SIGHUP)
        for key in ("gateway.bind", "gateway.customBindHost"):
            assert "the rest of the gateway section stays" in system.wait_for_record(f"{key} changed")["msg"]
        system.wait_for_record("configuration reloaded")
        assert system.status()["addresses"] == addresses
        assert system.ask("configuration")["settings"]["gateway"]["auth"]["mode"] == "token"
        assert system.ask("configuration")["settings"]["logging"]["level"] == "debug"
