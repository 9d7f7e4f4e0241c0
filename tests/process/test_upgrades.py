"""What comes in the middle of an upgrade and after it: the new gateway's end counts, doors are opened again."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from supervisor.chores import DOOR_SECONDS
from tests.support.system import eventually
from tests.support.tiny_system import Tiny, agents, tiny


@pytest.fixture
def upgraded():
    with tiny(agents("wait")) as system:
        system.signal(signal.SIGUSR2)
        system.wait_for_record("upgraded")
        yield system


def test_a_gateway_of_new_code_whose_configuration_is_wrong_ends_the_system_with_78(upgraded: Tiny):
    upgraded.ask("exit", code=78)
    assert upgraded.process is not None
    assert upgraded.process.wait(20) == 78


def test_a_door_that_is_opened_again_in_the_middle_of_an_upgrade_does_not_hold_it_up():
    with tiny(agents("wait")) as system:
        system.operator.unlink()
        eventually(system.operator.exists, 20)  # the next look at the doors is DOOR_SECONDS from here
        eventually(lambda: system.ask("generation") == 2)
        time.sleep(DOOR_SECONDS / 2)
        with socket.socket(socket.AF_UNIX) as deaf:  # it does not retire: the upgrade waits until it is killed
            deaf.connect(str(system.operator))
            deaf.sendall(b'{"do": "hang"}\n')
        system.operator.unlink()
        system.signal(signal.SIGUSR2)
        system.wait_for_record("upgraded")
        system.signal(signal.SIGHUP)
        system.wait_for_record("configuration reloaded")
        eventually(system.operator.exists, 20)
        assert eventually(lambda: system.ask("generation"))
