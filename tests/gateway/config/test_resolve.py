"""What the supervisor is told, and that an agent's uid belongs to nobody else on the host."""

from pathlib import Path

import msgspec
import pytest

from gateway.config import ConfigError, Loaded, settings_from_resolved
from gateway.config.document import Resolved
from gateway.config.resolve import Host, read_host, resolve, sub_ids
from gateway.config.validate import validate

HOST = Host(
    users={"root": 0, "alice": 1000, "nobody": 65534},
    groups={"root": 0, "adm": 4, "nogroup": 65534},
    sub_ids=((100000, 65536, "alice"),),
    owner_uid=990,
    owner_gid=980,
)


def loaded(tree: dict[str, object]) -> Loaded:
    settings, problems = validate(tree)
    assert settings is not None, problems
    return Loaded(settings, ("a warning",), Path("/etc/peergate/peergate.toml"))


def resolved(tree: dict[str, object]) -> Resolved:
    return resolve(loaded(tree), HOST)


def test_the_document_is_exactly_what_was_agreed():
    tree: dict[str, object] = {
        "gateway": {
            "bind": "custom",
            "customBindHost": "10.0.0.1, FD00::1,10.0.0.1",
            "port": 0,
            "unix": {
                "operators": ["alice", 1001, 1000],
                "operatorGroup": "adm",
                "foreign": {"1000": "operator", "1001": ["operator.admin"]},
            },
        },
        "agents": {
            "defaults": {"idleSeconds": 9, "limits": {"pids": 5}},
            "entries": {
                "a": {
                    "cwd": "/a",
                    "env": {"K": "v"},
                    "runtime": {"type": "command", "argv": ["cat"]},
                    "limits": {"memoryBytes": 10**9},
                }
            },
        },
        "supervisor": {"uids": {"first": 70000, "count": 2, "gid": 70000}},
    }
    document = msgspec.json.decode(msgspec.json.encode(resolved(tree)))
    assert list(document) == ["source", "warnings", "supervisor", "settings"]
    assert (document["source"], document["warnings"]) == ("/etc/peergate/peergate.toml", ["a warning"])
    limits = {"memoryBytes": 10**9, "pids": 5, "openFiles": None, "cpuSeconds": None, "cpuPercent": None}
    limits |= {"wallSeconds": None}
    written = {name: f"agents.defaults.limits.{name}" for name in [*limits, "outputBytes", "transcriptBytes"]}
    written["memoryBytes"] = "agents.entries.a.limits.memoryBytes"
    runtime: dict[str, object] = {"type": "command", "argv": ["cat"], "cwd": None, "env": {}, "timeoutSeconds": None}
    assert document["supervisor"] == {
        "spawnMethod": "zygote",
        "warmSpares": 2,
        "stopSeconds": 8,
        "cgroup": "auto",
        "heartbeatSeconds": 5,
        "gateway": {"bind": "custom", "port": 0, "customBindHost": ["10.0.0.1", "fd00::1"]},
        "operators": {"uids": [1000, 1001], "gid": 4},
        "foreign": {"1000": ["operator.read", "operator.write"], "1001": ["operator.admin"]},
        "uids": {"first": 70000, "count": 2, "gid": 70000},
        "output": {"linesPerSecond": 200, "bytesPerSecond": 262144},
        "logging": {"level": "info", "file": True, "maxBytes": 10485760, "backups": 5},
        "agents": {
            "a": {
                "runtime": {**runtime, "protocol": "text", "retrySafe": False},
                "cwd": "/a",
                "workspace": None,
                "env": {"K": "v"},
                "limits": {**limits, "outputBytes": None, "transcriptBytes": None},
                "limitKeys": written,
                "subprocessGateway": True,
                "idleSeconds": 9,
            }
        },
    }


def test_the_gateway_reads_the_same_settings_back():
    before = resolved({"gateway": {"auth": {"token": "t"}}, "tools": {"agentToAgent": {"allow": ["a*"]}}})
    assert settings_from_resolved(msgspec.json.encode(before)) == before.settings


def test_what_is_no_document_is_refused():
    with pytest.raises(msgspec.DecodeError):
        settings_from_resolved(b'{"settings": {}}')


UIDS = {"first": 70000, "count": 10, "gid": 70000}


@pytest.mark.parametrize(
    ("tree", "path", "said"),
    [
        ({"gateway": {"unix": {"operators": ["root", "alcie"]}}}, "gateway.unix.operators[1]", '"alice"'),
        ({"gateway": {"unix": {"operators": ["nobody"]}}}, "gateway.unix.operators[0]", "overflow"),
        ({"gateway": {"unix": {"operatorGroup": "admin"}}}, "gateway.unix.operatorGroup", '"adm"'),
        ({"gateway": {"unix": {"operatorGroup": "nogroup"}}}, "gateway.unix.operatorGroup", "overflow"),
        ({"supervisor": {"uids": {**UIDS, "first": 995}}}, "supervisor.uids.first", "account alice"),
        ({"supervisor": {"uids": {**UIDS, "first": 985, "count": 6}}}, "supervisor.uids.first", "the owner"),
        ({"supervisor": {"uids": {**UIDS, "first": 99999}}}, "supervisor.uids.first", "subordinate ids of alice"),
        ({"supervisor": {"uids": {**UIDS, "first": 165530}}}, "supervisor.uids.first", "subordinate ids of alice"),
        ({"supervisor": {"uids": {**UIDS, "gid": 980}}}, "supervisor.uids.gid", "the owner's own group"),
        (
            {"supervisor": {"uids": {**UIDS, "gid": 4}}, "gateway": {"unix": {"operatorGroup": "adm"}}},
            "supervisor.uids.gid",
            "the operator group",
        ),
    ],
)
def test_a_name_or_a_range_this_host_cannot_serve_is_a_problem(tree, path, said):
    with pytest.raises(ConfigError) as caught:
        resolved(tree)
    [problem] = caught.value.problems
    assert (problem.path, problem.origin) == (path, "/etc/peergate/peergate.toml")
    assert said in str(problem)


@pytest.mark.parametrize("first", [70000, 99990, 165536])
def test_a_range_beside_everybody_elses_is_accepted(first):
    assert resolved({"supervisor": {"uids": {**UIDS, "first": first}}}).supervisor.uids is not None


def test_every_unknown_name_is_reported():
    with pytest.raises(ConfigError) as caught:
        resolved({"gateway": {"unix": {"operators": ["x1", "x2"], "operatorGroup": "x3"}}})
    assert len(caught.value.problems) == 3


def test_subordinate_ids_are_read_line_by_line_and_nonsense_is_skipped(tmp_path):
    file = tmp_path / "subuid"
    file.write_text("alice:100000:65536\n\n# no\nbob:x:1\n1000:200000:10\n")
    assert list(sub_ids(file)) == [(100000, 65536, "alice"), (200000, 10, "1000")]
    assert list(sub_ids(tmp_path / "none")) == []


def test_this_machines_accounts_are_read():
    host = read_host(
        loaded({"gateway": {"unix": {"operators": ["no such user"], "operatorGroup": "no such group"}}}).settings
    )
    assert (host.users["root"], host.groups["root"]) == (0, 0)
    assert "no such user" not in host.users
