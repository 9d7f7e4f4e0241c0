"""The shipped image, built by its Dockerfile and run by an OCI runtime: as compose.yaml runs it, with docker exec's
kind of company and a command line in a container of its own."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import ROOT, Container, Store, require_containers
from tests.support.system import eventually

COMPOSE = ROOT / "deploy/container/compose.yaml"
STATE, FOREIGN = "/var/lib/peergate", "/run/peergate/foreign"
READY = '"msg":"ready","doors"'


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    require_containers()
    with tempfile.TemporaryDirectory(prefix="pg-oci-") as directory:
        store = Store(Path(directory))
        try:
            store.build()
            yield store
        finally:
            store.close()


def composed(service: str) -> dict[str, str]:
    """The environment compose.yaml gives a service: its lines `      NAME: value`, up to the next key."""
    part = COMPOSE.read_text().split(f"\n  {service}:\n")[1].split("\n    environment:\n")[1]
    block = re.split(r"\n    \w", part)[0]
    return {name: value.strip("'") for name, value in re.findall(r"^      (\w+): (.*)$", block, re.MULTILINE)}


@pytest.fixture
def gateway(store: Store) -> Iterator[Container]:
    """The service `peergate` of compose.yaml, with volumes of its own."""
    container = start(store, f"state{len(store.containers)}")
    yield container
    container.remove()


def start(store: Store, state: str) -> Container:
    volumes = {STATE: (store.volume(state, STATE), False), FOREIGN: (store.volume(f"{state}-foreign", FOREIGN), False)}
    container = store.run(environment=composed("peergate"), volumes=volumes)
    container.wait_for(READY)
    return container


def test_it_runs_as_uid_1000_without_an_account_and_stops_as_docker_stops_it(store: Store, gateway: Container):
    image = store.image()
    assert image["User"] == "1000:1000"
    rows = json.loads(gateway.exec("peergate", "ps", "--json").stdout)
    assert (rows[0]["kind"], rows[0]["pid"]) == ("supervisor", 1)
    assert {row["uid"] for row in rows} == {1000}
    started = time.monotonic()
    assert gateway.stop(image["StopSignal"]) == 0
    assert time.monotonic() - started < 9


def test_its_health_check_answers(store: Store, gateway: Container):
    kind, *command = store.image()["Healthcheck"]["Test"]
    assert kind == "CMD"
    assert gateway.exec(*command).returncode == 0


def test_an_exec_is_an_operator_as_the_owner_or_root_and_nobody_otherwise(gateway: Container):
    for user in ("1000:1000", "0:0"):
        done = gateway.exec("peergate", "health", user=user)
        assert done.returncode == 0, done.stderr
    assert gateway.exec("peergate", "health", user="1001:1001").returncode == 77


def test_a_forgotten_process_of_an_exec_is_left_alone_and_reaped(gateway: Container):
    gateway.exec("sh", "-c", "setsid sleep 1 >/dev/null 2>&1 & setsid sleep 4245 >/dev/null 2>&1 &")

    def states() -> list[str]:
        listed = gateway.exec("sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || true").stdout.splitlines()
        return [" ".join(line.split()[1:4]) for line in listed if "(sleep)" in line]

    assert states() == ["(sleep) S 1", "(sleep) S 1"]
    eventually(lambda: states() == ["(sleep) S 1"])
    assert gateway.exec("peergate", "health").returncode == 0


def test_the_demo_surveys_a_folder_in_the_container(gateway: Container):
    done = gateway.exec("peergate", "demo", "/opt/peergate/lib", "--max", "12", timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr


def sidecar(store: Store, gateway: Container, *command: str, **options: Any) -> tuple[int, str]:
    """The service `cli` of compose.yaml: another PID namespace, no network, no capability, the directory read only."""
    options.setdefault("environment", composed("cli"))
    container = store.run(
        *command,
        volumes={FOREIGN: (gateway.volumes[FOREIGN][0], True)},
        entrypoint=["/opt/peergate/bin/peergate"],
        capabilities=[],
        **options,
    )
    return container.process.wait(30), container.said()


def test_a_command_line_in_a_container_of_its_own_asks_through_one_shared_directory(store: Store, gateway: Container):
    code, said = sidecar(store, gateway, "ps", "--json")
    assert code == 0, said
    assert {row["kind"] for row in json.loads(said)} >= {"supervisor", "gateway"}
    code, said = sidecar(store, gateway, "health")
    assert code == 0, said
    code, said = sidecar(store, gateway, "call", "agents.release", '{"agentId":"main"}')
    assert (code, "operator.admin" in said) == (77, True), said


def test_a_sidecar_nobody_named_is_refused_and_told_what_would_let_it_in(store: Store, gateway: Container):
    for user in ("0:0", "1001:1001"):
        code, said = sidecar(store, gateway, "health", user=user)
        assert code == 77, said
        assert "gateway.unix.foreign" in said


def test_the_next_container_on_the_same_volume_knows_what_the_last_one_was_told(store: Store):
    first = start(store, "lasting")
    done = first.exec("peergate", "send", "main", "remember this", "--wait")
    assert done.returncode == 0, done.stderr
    assert first.stop("SIGTERM") == 0
    second = start(store, "lasting")
    assert "remember this" in second.exec("peergate", "history", "main").stdout
    assert second.stop("SIGTERM") == 0


def test_a_state_directory_of_somebody_else_is_named_and_not_retried_into(store: Store):
    theirs = store.directory / "volumes" / "theirs"
    theirs.mkdir(parents=True)  # root's, as a host's directory is that docker makes for -v
    refused = store.run(volumes={STATE: (theirs, False)})
    assert refused.process.wait(20) == 78
    assert f"{STATE} belongs to uid 0, not to us (uid 1000)" in refused.said()


def test_another_uid_runs_it_in_directories_of_its_own(store: Store):
    own = {path: store.directory / "volumes" / f"own{number}" for number, path in enumerate((STATE, "/run/peergate"))}
    for place in own.values():
        place.mkdir(parents=True)
        os.chown(place, 2000, 2000)
    container = store.run(volumes={path: (place, False) for path, place in own.items()}, user="2000:2000")
    container.wait_for(READY)
    assert container.exec("peergate", "health", user="2000:2000").returncode == 0
    assert container.stop("SIGTERM") == 0


def test_what_its_supervisor_cannot_clean_up_ends_with_the_container_and_the_next_one_starts(store: Store):
    first = start(store, "killed")
    first.stop("SIGKILL")
    second = start(store, "killed")
    assert second.exec("peergate", "health").returncode == 0
    assert second.stop("SIGTERM") == 0
