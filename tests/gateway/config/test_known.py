"""OpenClaw's unserved keys: taken out, named once at the top, and never a key of ours."""

from gateway.config.kinds import every_key
from gateway.config.known import KNOWN, known_beside, prune

Tree = dict[str, object]


def test_a_whole_section_is_named_once():
    tree = {"channels": {"telegram": {"x": 1}}, "gateway": {"port": 1, "reload": {"mode": "off"}}}
    assert prune(tree) == ({"gateway": {"port": 1}}, ["channels", "gateway.reload"])


def test_an_agents_own_unserved_keys_are_named_with_its_id():
    tree: Tree = {"agents": {"entries": {"main": {"skills": [], "tools": {"deny": ["exec"]}}}}}
    kept, dropped = prune(tree)
    assert dropped == ["agents.entries.main.skills", "agents.entries.main.tools.deny"]
    assert kept == {"agents": {"entries": {"main": {"tools": {}}}}}


def test_an_agents_environment_is_never_taken_for_openclaws_keys():
    tree: Tree = {"agents": {"entries": {"main": {"env": {"model": "x", "tools": "y"}}}}}
    assert prune(tree) == (tree, [])


def test_the_same_word_elsewhere_is_not_known():
    assert prune({"gateway": {"channels": 1}}) == ({"gateway": {"channels": 1}}, [])


def test_a_section_that_is_no_table_is_left_for_the_check():
    assert prune({"agents": {"entries": 5}, "gateway": [1]}) == ({"agents": {"entries": 5}, "gateway": [1]}, [])


def test_no_key_is_both_served_and_unserved():
    served = {path.replace("<id>", "*") for _, path in every_key()}
    unserved = {f"{place}.{name}" if place else name for place, names in KNOWN.items() for name in names}
    assert served & unserved == set()


def test_every_place_of_the_list_is_a_table_of_ours():
    served = {path.replace("<id>", "*") for _, path in every_key()}
    assert {place for place in KNOWN if place and place != "agents.entries.*"} <= served


def test_known_beside_speaks_of_any_agent():
    assert "skills" in known_beside("agents.entries.whoever")
    assert known_beside("agents.entries") == frozenset()
