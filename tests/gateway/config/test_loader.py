"""Which file is read, what an unreadable one says, and where paths in it start."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import ConfigError, Loaded, load
from gateway.config.loader import find, in_container


def write(path: Path, text: str = "", mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def load_text(tmp_path: Path, text: str, name: str = "peergate.toml", **environ: str) -> Loaded:
    return load(write(tmp_path / name, text), environ=environ, root=tmp_path)


def test_nothing_anywhere_means_defaults(tmp_path):
    loaded = load(environ={"HOME": str(tmp_path)}, root=tmp_path)
    assert (loaded.source, loaded.warnings, loaded.settings.gateway.port) == (None, (), 18789)


def test_a_file_named_by_flag_or_variable_must_exist(tmp_path):
    gone = tmp_path / "gone.toml"
    for path, environ in [(gone, {}), (None, {"PEERGATE_CONFIG": str(gone)})]:
        with pytest.raises(ConfigError, match="found a file that cannot be read"):
            load(path, environ=environ, root=tmp_path)


def test_the_flag_beats_the_variable_and_the_variable_the_default_place(tmp_path):
    default = write(tmp_path / ".config" / "peergate" / "peergate.toml")
    environ = {"HOME": str(tmp_path)}
    assert find(None, environ, tmp_path) == default
    environ["PEERGATE_CONFIG"] = "/named/by/variable.toml"
    assert find(None, environ, tmp_path) == Path("/named/by/variable.toml")
    assert find(Path("/named/by/flag.toml"), environ, tmp_path) == Path("/named/by/flag.toml")


def test_default_places_are_tried_in_order(tmp_path):
    home, xdg = tmp_path / "home", tmp_path / "xdg"
    environ = {"HOME": str(home), "XDG_CONFIG_HOME": str(xdg)}
    system = write(tmp_path / "etc" / "peergate" / "peergate.toml")
    assert find(None, environ, tmp_path) == (system if os.geteuid() == 0 else None)
    for name in ("openclaw.json", "peergate.json5", "peergate.toml"):
        write(xdg / "peergate" / name)
        assert find(None, environ, tmp_path) == xdg / "peergate" / name
    write(home / ".config" / "peergate" / "peergate.toml")
    assert find(None, environ, tmp_path) == xdg / "peergate" / "peergate.toml"
    assert find(None, {**environ, "XDG_CONFIG_HOME": "relative"}, tmp_path) == home / ".config/peergate/peergate.toml"


def test_flags_beat_environment_beats_file_beats_defaults(tmp_path):
    file = write(tmp_path / "p.toml", "[gateway]\nport = 1\nbind = 'lan'\n[logging]\nlevel = 'warn'\n")
    environ = {"PEERGATE_GATEWAY_PORT": "2", "PEERGATE_LOG_LEVEL": "error", "PEERGATE__GATEWAY__PORT": "3"}
    settings = load(file, environ=environ, overrides={"gateway.port": "4"}, root=tmp_path).settings
    assert (settings.gateway.port, settings.gateway.bind, settings.logging.level) == (4, "lan", "error")
    assert settings.logging.backups == 5
    assert load(file, environ={"PEERGATE_GATEWAY_PORT": "2"}, root=tmp_path).settings.gateway.port == 2


@pytest.mark.parametrize("name", ["p.toml", "p.json5", "openclaw.json", "p"])
def test_both_formats_say_the_same(tmp_path, name):
    text = "[gateway]\nport = 7" if name == "p.toml" else "{gateway: {port: 7}, /* seven */}"
    assert load_text(tmp_path, text, name).settings.gateway.port == 7


def test_a_byte_order_mark_is_forgiven(tmp_path):
    assert load_text(tmp_path, "\ufeff[gateway]\nport = 7").settings.gateway.port == 7


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "byte 0: found text that is not UTF-8"),
        (b"[gateway\n", "line 1, column 9"),
        (b"[gateway]\nprot = 1", "gateway.prot: found an unknown key; allowed: mode, port, bind, "),
        (b"#" * (4 * 2**20 + 1), "at most 4194304"),
    ],
    ids=["encoding", "syntax", "key", "size"],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path, content, said):
    file = tmp_path / "peergate.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file, environ={}, root=tmp_path)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{file}: ")
    assert said in line


def test_a_directory_and_a_pipe_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="not a regular file"):
            load(path, environ={}, root=tmp_path)


def test_a_default_file_that_leads_nowhere_is_an_error_and_not_skipped(tmp_path):
    place = tmp_path / ".config" / "peergate"
    place.mkdir(parents=True)
    (place / "peergate.toml").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(environ={"HOME": str(tmp_path)}, root=tmp_path)


def test_paths_start_at_the_file_or_at_home(tmp_path):
    text = "[agents.entries.a]\ncwd = 'work'\nworkspace = '~/w'\n[agents.entries.b]\ncwd = '/abs'\nworkspace = '~'"
    entries = load_text(tmp_path, text, HOME="/home/u").settings.agents.entries
    assert (entries["a"].cwd, entries["a"].workspace) == (str(tmp_path / "work"), "/home/u/w")
    assert (entries["b"].cwd, entries["b"].workspace) == ("/abs", "/home/u")


@pytest.mark.parametrize(
    ("path", "environ"),
    [("~/w", {}), ("~other/w", {"HOME": "/home/u"}), ("a\\u0000b", {})],
    ids=["home", "other", "nul"],
)
def test_a_path_that_means_nothing_is_a_problem(tmp_path, path, environ):
    with pytest.raises(ConfigError, match=r"agents\.entries\.a\.cwd"):
        load_text(tmp_path, f'[agents.entries.a]\ncwd = "{path}"', **environ)


def test_without_a_file_a_path_must_be_absolute(tmp_path):
    with pytest.raises(ConfigError, match="must be absolute"):
        load(environ={}, overrides={"agents.defaults.cwd": "work"}, root=tmp_path)
    loaded = load(environ={}, overrides={"agents.defaults.cwd": "/work"}, root=tmp_path)
    assert loaded.settings.cwd_of("main") == "/work"


@pytest.mark.parametrize(
    ("mode", "text", "warned"),
    [
        (0o600, "[gateway.auth]\ntoken = 't'", []),
        (0o644, "", []),
        (0o644, "[gateway.auth]\ntoken = 't'", ["everybody may read it"]),
        (0o666, "", ["everybody may write it"]),
    ],
)
def test_permissions_that_give_something_away_are_told(tmp_path, mode, text, warned):
    file = write(tmp_path / "peergate.toml", text, mode)
    warnings = load(file, environ={}, root=tmp_path).warnings
    assert len(warnings) == len(warned)
    assert all(word in line for word, line in zip(warned, warnings, strict=True))


def test_in_a_container_the_default_bind_is_the_network_and_a_written_one_stays(tmp_path):
    assert load(environ={"container": "podman"}, root=tmp_path).settings.gateway.bind == "lan"
    written = write(tmp_path / "p.toml", "[gateway]\nbind = 'loopback'")
    assert load(written, environ={"container": "podman"}, root=tmp_path).settings.gateway.bind == "loopback"
    environ = {"container": "podman", "PEERGATE_GATEWAY_BIND": "tailnet"}
    assert load(environ=environ, root=tmp_path).settings.gateway.bind == "tailnet"


def test_mode_none_in_a_container_has_to_choose_its_bind(tmp_path):
    with pytest.raises(ConfigError, match="with bind lan"):
        load_text(tmp_path, "[gateway.auth]\nmode = 'none'", container="docker")


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv", None])
def test_the_marks_of_a_container(tmp_path, mark):
    assert not in_container({}, tmp_path)
    if mark:
        write(tmp_path / mark)
    assert in_container({} if mark else {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=60) | st.text("{}[]:=,.\"'\n#gatewyport1 ", max_size=60).map(str.encode), st.booleans())
def test_any_bytes_load_or_are_refused_and_nothing_else(tmp_path, content, toml):
    file = tmp_path / ("p.toml" if toml else "p.json5")
    file.write_bytes(content)
    with suppress(ConfigError):
        assert load(file, environ={}, root=tmp_path).source == file
