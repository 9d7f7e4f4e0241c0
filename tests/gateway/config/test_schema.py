"""The schema document, one value by its key, and that nothing shown holds a secret."""

import msgspec
import pytest

from gateway.config import ConfigError, find_key, json_schema, redacted, tree_of
from gateway.config.settings import Settings, complete

SETTINGS = complete(
    msgspec.convert(
        {"gateway": {"auth": {"token": "t0p"}}, "agents": {"entries": {"a": {"env": {"K": "v3ry"}}}}}, Settings
    )
)


def test_the_schema_describes_the_file_for_an_editor():
    schema = json_schema()
    definitions = schema["$defs"]
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"$schema", "gateway", "agents", "tools", "session", "supervisor", "logging"} <= set(
        definitions["Settings"]["properties"]
    )
    assert definitions["Settings"]["additionalProperties"] is False
    assert definitions["Gateway"]["properties"]["port"]["maximum"] == 65535
    assert definitions["Unix"]["properties"]["foreign"]["description"]
    assert all(definition.get("description") for definition in definitions.values())


def test_an_editor_accepts_what_a_start_accepts():
    definitions = json_schema()["$defs"]
    assert {"channels", "cron", "models", "agentDefaults"} <= set(definitions["Settings"]["properties"])
    assert "heartbeat" in definitions["AgentDefaults"]["properties"]
    assert "skills" in definitions["Agent"]["properties"]
    assert "deny" in definitions["AgentTools"]["properties"]
    assert "list" in definitions["Agents"]["properties"]
    assert "channels" not in definitions["Gateway"]["properties"]


def test_the_schema_is_the_same_on_every_machine_and_is_json():
    assert "default" not in json_schema()["$defs"]["AgentDefaults"]["properties"]["maxConcurrent"]
    assert msgspec.json.decode(msgspec.json.encode(json_schema())) == json_schema()


def test_a_key_is_found_with_its_default():
    assert find_key(SETTINGS, "gateway.port") == 18789
    assert find_key(SETTINGS, "agents.entries.a.runtime.type") == "python"
    assert isinstance(find_key(SETTINGS, ""), dict)


@pytest.mark.parametrize(
    ("key", "path", "hint"),
    [
        ("gateway.prot", "gateway.prot", 'did you mean "port"?'),
        ("gateway.port.x", "gateway.port.x", ""),
        ("agents.entries.b", "agents.entries.b", ""),
        (".", "", ""),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_one(key, path, hint):
    with pytest.raises(ConfigError) as caught:
        find_key(SETTINGS, key)
    [problem] = caught.value.problems
    assert (problem.path, problem.hint) == (path, hint)


def test_secrets_are_hidden_and_their_presence_is_not():
    assert find_key(SETTINGS, "gateway.auth.token") == "<hidden>"
    assert find_key(SETTINGS, "gateway.auth.password") is None
    assert find_key(SETTINGS, "agents.entries.a.env") == {"K": "<hidden>"}
    text = str(redacted(tree_of(SETTINGS)))
    assert "t0p" not in text
    assert "v3ry" not in text
    assert "t0p" in str(tree_of(SETTINGS)["gateway"])
